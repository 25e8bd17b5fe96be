#!/usr/bin/env bash
# Builds the Debian package singer-ldap: the three executables, singer-ldap-run, manual pages, completions, systemd units.
#   scripts/build-deb.sh EXECUTABLES OUT
# EXECUTABLES: the folder with tap-ldap, target-ldap and ldap-service, dynamically linked. Needs dpkg-deb and readelf (packages dpkg, binutils), not root.
# DEB_LEVEL: how hard it is compressed, 0 to 9.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 EXECUTABLES OUT" >&2; exit 2; }

executables=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
version=$(scripts/version.sh)
architecture=$(dpkg --print-architecture)
time=$(scripts/version.sh --time)
maintainer=$(scripts/release-values.sh maintainer)
homepage=$(scripts/release-values.sh repository)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
share=$root/usr/share
doc=$share/doc/singer-ldap
install -d "$root/DEBIAN" "$root/usr/bin" "$root/lib/systemd/system" "$root/etc/singer-ldap" "$root/etc/ldap-service" "$doc" \
  "$share/bash-completion/completions" "$share/fish/vendor_completions.d" "$share/man/man1" "$share/zsh/vendor-completions"

# The oldest glibc that has every symbol which the executables use, and the libraries that they name.
floor=0
libraries=
for program in tap-ldap target-ldap ldap-service; do
  install -m 755 "$executables/$program" "$root/usr/bin/"
  strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/$program"
  floor=$({ echo "$floor"; readelf --version-info --wide "$executables/$program" | sed -n 's/.*Name: GLIBC_\([0-9.]*\).*/\1/p'; } | sort -Vu | tail -n 1)
  libraries+=$(readelf --dynamic --wide "$executables/$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')$'\n'
  pages=$program/wheel/data/share
  install -m 644 "$pages"/man/man1/*.1 "$share/man/man1/"
  install -m 644 "$pages/bash-completion/completions/$program" "$share/bash-completion/completions/"
  install -m 644 "$pages/fish/vendor_completions.d/$program.fish" "$share/fish/vendor_completions.d/"
  # Debian's zsh looks for packages' functions here.
  install -m 644 "$pages/zsh/site-functions/_$program" "$share/zsh/vendor-completions/"
done
[ "$floor" != 0 ] || { echo "build-deb: $executables: these executables do not use glibc: archives are for them" >&2; exit 1; }
depends="libc6 (>= $floor)"
while read -r library; do
  case $library in
    # libc6 has these.
    '' | libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1 | libresolv.so.2 | libutil.so.1 | ld-linux*) ;;
    libgcc_s.so.1) depends="$depends, libgcc-s1 (>= 4.2) | libgcc1" ;;
    libgssapi_krb5.so.2) depends="$depends, libgssapi-krb5-2" ;;
    *) echo "build-deb: no package is known for $library" >&2; exit 1 ;;
  esac
done < <(sort -u <<<"$libraries")

install -m 755 packaging/singer-ldap-run "$root/usr/bin/"
install -m 644 packaging/singer-ldap-run.1 "$share/man/man1/"
install -m 644 packaging/systemd/* "$root/lib/systemd/system/"
install -m 644 packaging/debian/copyright "$doc/"
install -d "$doc/examples"
cp -R packaging/kubernetes "$doc/examples/"
printf 'singer-ldap (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md in the sources.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$(date -R -u -d "@$time")" >"$doc/changelog"
gzip -9n "$doc/changelog" "$share"/man/man1/*.1

cat >"$root/DEBIAN/control" <<END
Package: singer-ldap
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Recommends: ca-certificates
Section: database
Priority: optional
Homepage: $homepage
Description: LDAP directories as sources and destinations of Singer pipelines
 tap-ldap reads an LDAP directory or an LDIF file and emits Singer messages.
 target-ldap makes a directory or an LDIF file match a Singer stream.
 ldap-service gives applications login, SCIM 2.0 and search over a directory.
 .
 All work with OpenLDAP, 389 Directory Server, Active Directory and other
 LDAP servers. A systemd service and a timer run the pair regularly.
END
for script in postinst postrm; do
  install -m 755 packaging/debian/reload "$root/DEBIAN/$script"
done
(cd "$root" && find usr lib -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$time" -exec touch -h -d "@$time" {} +
package=$out/singer-ldap_${version}_$architecture.deb
SOURCE_DATE_EPOCH=$time dpkg-deb --root-owner-group -Zxz "-z${DEB_LEVEL:-6}" --build "$root" "$package" >/dev/null
echo "$package"
