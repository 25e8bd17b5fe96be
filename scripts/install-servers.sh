#!/bin/sh
# Installs what the tests start: OpenLDAP's server and client tools, 389 Directory Server, Samba as an Active Directory
# domain controller, ApacheDS with the Java libraries it is started with, a browser, what the benchmarks count with, what checks metrics (promtool), and nginx and Caddy, which ask ldap-service
# who may enter, from Debian's packages (Ubuntu's too, but for the browser).
#   scripts/install-servers.sh [PACKAGE ...]     only these of them
# Does nothing when all is there. What it installs is not left running and does not start at boot: the tests start
# servers of their own, on loopback and in temporary directories, and leave the machine's alone.
set -eu

PATH=$PATH:/usr/sbin:/sbin
policy=/usr/sbin/policy-rc.d

# One a line: package, and a file (a pattern where the directory is the architecture's) or command that shows it is
# there.
wanted='slapd slapd
slapd slapadd
slapd-contrib /usr/lib/ldap/pw-sha2.so
ldap-utils ldapsearch
389-ds-base ns-slapd
389-ds-base pwdhash
389-ds-base /usr/share/dirsrv/data/template-dse.ldif
samba samba
samba samba-tool
samba-ad-provision /usr/share/samba/setup/provision.ldif
samba-dsdb-modules /usr/lib/*/samba/ldb/dsdb_notification.so
samba-vfs-modules /usr/lib/*/samba/vfs/acl_xattr.so
ldb-tools ldbadd
apacheds /usr/share/apacheds/lib
apacheds /etc/apacheds/config.ldif
default-jre-headless java
libantlr-java /usr/share/java/antlr.jar
libapache-directory-api-java /usr/share/java/apache-directory-api-all.jar
libapache-directory-jdbm-java /usr/share/java/apacheds-jdbm1.jar
libcaffeine-java /usr/share/java/caffeine.jar
libcommons-codec-java /usr/share/java/commons-codec.jar
libcommons-collections4-java /usr/share/java/commons-collections4.jar
libcommons-lang3-java /usr/share/java/commons-lang3.jar
libcommons-text-java /usr/share/java/commons-text.jar
libdom4j-java /usr/share/java/dom4j.jar
libxpp3-java /usr/share/java/xpp3.jar
krb5-kdc krb5kdc
krb5-admin-server kadmin.local
krb5-user kinit
libsasl2-modules-gssapi-mit /usr/lib/*/sasl2/libgssapiv2.so
gss-ntlmssp /usr/lib/*/gssntlmssp/gssntlmssp.so
libkrb5-dev krb5-config
libclang1-14 /usr/lib/*/libclang-14.so.1
libclang-common-14-dev /usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h
openssl openssl
groff-base groff
valgrind valgrind
prometheus promtool
nginx nginx
caddy caddy'

# One a line: package, and a service of its own that would otherwise start with the machine.
services='slapd slapd
samba smbd
samba nmbd
samba samba-ad-dc
apacheds apacheds
prometheus prometheus
nginx nginx
caddy caddy
prometheus-node-exporter prometheus-node-exporter
krb5-kdc krb5-kdc
krb5-admin-server krb5-admin-server'

# The browser that looks at what `tap-ldap --discover --report` writes. Ubuntu's package is only a pointer to a snap:
# there, put any Chromium or Chrome in PATH as `chromium`.
browser='chromium chromium'

only=" $* "
missing=$(printf '%s\n' "$wanted" "$browser" | while read -r package sign; do
  case $only in
    '  ' | *" $package "*) ;;
    *) continue ;;
  esac
  case $sign in
    /*)
      # Without quotes: a pattern; of the files it finds, the first will do.
      # shellcheck disable=SC2086
      set -- $sign
      [ -e "$1" ] || echo "$package" ;;
    *) command -v "$sign" >/dev/null || echo "$package" ;;
  esac
done | sort -u | tr '\n' ' ')
missing=${missing% }

if [ -z "$missing" ]; then
  echo "install-servers: ${*:-OpenLDAP, 389 Directory Server, Samba, ApacheDS, Chromium, groff, valgrind, promtool, nginx and Caddy} are there"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  cat >&2 <<END
install-servers: missing: $missing
This script installs with apt-get, which is not on this machine. Install OpenLDAP's server (slapd, slapadd, with
the contributed module pw-sha2 in /usr/lib/ldap) and client tools (ldapsearch), 389 Directory Server (ns-slapd), Samba's
domain controller (samba, samba-tool, ldbadd), ApacheDS 2.0.0.AM26 with its Java libraries, Chromium, groff, openssl, valgrind, promtool (Prometheus), nginx and Caddy with your system's package
manager, or run the tests in a
Debian 12 container. \`make demo\` needs no server.
END
  exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install-servers: missing: $missing. Run this as root: apt-get install $missing" >&2
    exit 1
  fi
  echo "install-servers: missing: $missing; installing with sudo"
  exec sudo sh "$0" "$@"
fi

echo "install-servers: installing $missing"
# Debian asks this file whether a package's service may start: 101 is no.
# https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
case " $missing " in
  *" slapd "*)
    # No directory of the machine's own is wanted either.
    if command -v debconf-set-selections >/dev/null; then
      echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections
    fi ;;
esac
apt-get -q update
# Without quotes: a list of packages.
# shellcheck disable=SC2086
apt-get -q install -y --no-install-recommends $missing
# Those packages were not there before, so nobody asked for their services at boot.
echo "$services" | while read -r package service; do
  case " $missing " in
    *" $package "*)
      [ ! -e "/etc/init.d/$service" ] || update-rc.d "$service" disable >/dev/null 2>&1 ||
        echo "install-servers: $service may start at boot; 'update-rc.d $service disable' prevents it"
      # Caddy has a unit only.
      if [ ! -e "/etc/init.d/$service" ] && command -v systemctl >/dev/null; then
        systemctl --quiet disable "$service" ||
          echo "install-servers: $service may start at boot; 'systemctl disable $service' prevents it"
      fi ;;
  esac
done
