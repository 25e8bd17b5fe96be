#!/usr/bin/env bash
# Builds the container image singer-ldap from static executables, and writes it as an OCI archive (podman load, skopeo copy).
#   scripts/build-container.sh EXECUTABLES OUT
# EXECUTABLES: the folder with tap-ldap, target-ldap and ldap-service, linked statically. OUT: the folder for the archive, and for `context`, from which
# docker and podman build as well (docker build OUT/context).
# Needs buildah, busybox-static and ca-certificates (Debian's packages). Runs nothing in the image, and needs no registry.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 EXECUTABLES OUT" >&2; exit 2; }

executables=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
time=$(scripts/version.sh --time)
busybox=/bin/busybox
certificates=/etc/ssl/certs/ca-certificates.crt

for program in "$executables/tap-ldap" "$executables/target-ldap" "$executables/ldap-service" "$busybox"; do
  if ! [ -x "$program" ] || readelf --program-headers --wide "$program" | grep -q INTERP; then
    echo "build-container: $program must be there, and linked statically: the image has no libraries" >&2
    exit 1
  fi
done

context=$out/context
rm -rf "$context"
root=$context/rootfs
install -d "$root/bin" "$root/etc/ssl/certs" "$root/usr/bin" "$root/usr/share/doc/singer-ldap" "$root/usr/share/doc/busybox"
# For whatever user the container is run as: some clusters choose one.
install -d -m 1777 "$root/tmp" "$root/state"
install -m 755 "$executables/tap-ldap" "$executables/target-ldap" "$executables/ldap-service" packaging/singer-ldap-run "$root/usr/bin/"
strip --strip-unneeded "$root/usr/bin/tap-ldap" "$root/usr/bin/target-ldap" "$root/usr/bin/ldap-service"
install -m 755 "$busybox" "$root/bin/busybox"
# What singer-ldap-run needs, and what a person needs to look at files in a volume.
for applet in sh cat cp date grep gzip head kill ls mkdir mkfifo mktemp mv rm sed sleep tail test wc; do
  ln -s busybox "$root/bin/$applet"
done
install -m 644 "$certificates" "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/:/bin/sh\nsinger:x:65532:65532:singer-ldap:/state:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nsinger:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
install -m 644 LICENSE-APACHE LICENSE-MIT "$root/usr/share/doc/singer-ldap/"
install -m 644 /usr/share/doc/busybox-static/copyright "$root/usr/share/doc/busybox/"
cp packaging/container/Containerfile "$context/"

# A store of its own: nothing is left in the machine's.
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
build=(buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs)
"${build[@]}" build --quiet --isolation chroot --timestamp "$time" --tag "singer-ldap:$version" \
  --label org.opencontainers.image.title=singer-ldap --label "org.opencontainers.image.version=$version" \
  --label "org.opencontainers.image.licenses=MIT OR Apache-2.0" --file "$context/Containerfile" "$context" >/dev/null
archive=$out/singer-ldap-$version-$(uname -m).oci.tar
rm -f "$archive"
"${build[@]}" push --quiet "singer-ldap:$version" "oci-archive:$archive:singer-ldap:$version"
echo "$archive"
