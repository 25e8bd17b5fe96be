#!/bin/sh
# Installs Debian packages (Ubuntu's, too), as root or with sudo.
#   scripts/install-packages.sh CALLER PACKAGE ...
# CALLER: the script that needs them, for the message where there is no apt-get.
set -eu

caller=$1
shift
[ $# -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "$caller: missing: $*; install them, or what they are called there, with your system's package manager" >&2
  exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get -q update
$sudo env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
