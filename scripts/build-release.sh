#!/usr/bin/env bash
# Builds what a release has for a platform: the wheels, and an archive with the executables, manual pages, completions, licenses
# and packaging/.
#   scripts/build-release.sh TARGET OUT [PROFILE]
# TARGET: Rust's name of the platform. On Linux with glibc, libclang and libkrb5-dev are needed. TARGET must be installed (rustup target add TARGET). PROFILE: Cargo's, default release.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 TARGET OUT [PROFILE]" >&2; exit 2; }

target=$1
out=$2
profile=${3:-release}
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
built=${CARGO_TARGET_DIR:-target}/$target/$profile
name=singer-ldap-$version-$target
suffix=
case $target in *-windows-*) suffix=.exe ;; esac

# Kerberos and NTLM, where the machine's library can be loaded at run time (docs/decisions/0015-kerberos-at-run-time.md).
features=
case $target in *-linux-gnu) features=ntlm ;; esac

scripts/build-wheels.sh "$out" "$profile" "$features" "$target"

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
root=$staging/$name
mkdir -p "$root/bin"
for program in tap-ldap target-ldap ldap-service; do
  cp "$built/$program$suffix" "$root/bin/"
  # The same for every platform, and held to the executables by the tests: what is built for another platform cannot be run here.
  cp -R "$program/wheel/data/share" "$root/"
done
cp LICENSE-APACHE LICENSE-MIT CHANGELOG.md "$root/"
cp -R packaging "$root/"

if [ -n "$suffix" ]; then
  archive=$out/$name.zip
  rm -f "$archive"
  # Windows has no `zip`; Python is there, for maturin.
  python3 -c 'import shutil, sys; shutil.make_archive(sys.argv[1].removesuffix(".zip"), "zip", *sys.argv[2:])' "$archive" "$staging" "$name"
else
  archive=$out/$name.tar.gz
  # The same sources give the same names, owners and times.
  tar --version 2>/dev/null | grep -q GNU && reproducible=(--sort=name --owner=0 --group=0 --numeric-owner "--mtime=@$(scripts/version.sh --time)")
  tar -C "$staging" "${reproducible[@]+"${reproducible[@]}"}" -cf - "$name" | gzip -9n >"$archive"
fi
echo "$archive"
