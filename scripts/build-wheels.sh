#!/usr/bin/env bash
# Builds tap-ldap, target-ldap and ldap-service as Python wheels.
#   scripts/build-wheels.sh OUT [PROFILE [FEATURES [TARGET]]]
# OUT: the folder for the wheels; those of an earlier build are removed. PROFILE: Cargo's, default release.
# FEATURES: Cargo's, `gssapi` or `ntlm`. On Linux with glibc, these executables load the MIT Kerberos of the machine when a bind needs
# it (scripts/build-gssapi.sh), and run where there is none. Building them needs libclang and libkrb5-dev.
# TARGET: Rust's name of the platform, default this machine's.
# On Linux, zig (from PyPI) links against glibc 2.17 (manylinux2014), whatever glibc this machine has. The executables are in
# $CARGO_TARGET_DIR/TARGET/PROFILE afterwards.
set -euo pipefail

out=$1
profile=${2:-release}
features=${3:-}
target=${4:-$(rustc -vV | sed -n 's/^host: //p')}
cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}
tools=$folder/wheel-tools
scripts/install-venv.sh tests/wheels/requirements.txt "$tools"
bin=$tools/bin
[ -d "$bin" ] || bin=$tools/Scripts

options=(--target "$target")
case $target in
  *-linux-gnu) options+=(--zig --compatibility manylinux2014) ;;
  *-linux-musl) options+=(--zig --compatibility musllinux_1_2) ;;
esac
if [ -n "$features" ]; then
  options+=(--features "$features")
  environment=$(scripts/build-gssapi.sh "$target" "$folder/gssapi" "$bin/python")
  # Without quotes: NAME=VALUE, several.
  # shellcheck disable=SC2086,SC2163
  export $environment
fi

mkdir -p "$out"
rm -f "$out"/tap_ldap-*.whl "$out"/target_ldap-*.whl "$out"/ldap_service-*.whl
for package in tap-ldap target-ldap ldap-service; do
  # maturin looks for zig as the module `ziglang` of the Python that is in PATH.
  PATH=$PWD/$bin:$bin:$PATH "$bin/maturin" build --quiet --locked --profile "$profile" --manifest-path "$package/Cargo.toml" \
    --target-dir "$folder" --out "$out" "${options[@]}"
done
ls "$out"/*.whl
