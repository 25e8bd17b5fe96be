#!/usr/bin/env bash
# Checks what a release is made of, as far as this machine can: the workflows by actionlint and zizmor, systemd's units, the manifests
# for Kubernetes; wheels, the Debian package and the container image, built and tried (tests/release).
#   scripts/check-release.sh [--release] [PYTEST_OPTION ...]
# --release: also fails while Cargo.toml has placeholders for what only the publisher knows.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --release ]; then
  shift
  scripts/release-values.sh check
fi

# One a line: package, and a file (a pattern) or command that shows it is there.
missing=$(printf '%s\n' 'buildah buildah' 'busybox-static /usr/share/doc/busybox-static' 'ca-certificates /etc/ssl/certs/ca-certificates.crt' \
  'systemd systemd-analyze' 'lintian lintian' 'shellcheck shellcheck' 'binutils readelf' 'libkrb5-dev /usr/include/gssapi/gssapi.h' \
  'procps pgrep' |
  while read -r package sign; do
    case $sign in
      /*) [ -e "$sign" ] || echo "$package" ;;
      *) command -v "$sign" >/dev/null || echo "$package" ;;
    esac
  done)
# Without quotes: a list of packages.
# shellcheck disable=SC2086
scripts/install-packages.sh check-release $missing

tools=${CARGO_TARGET_DIR:-target}/release-tools
scripts/install-venv.sh tests/release/requirements.txt "$tools"
PYTHONDONTWRITEBYTECODE=1 "$tools/bin/pytest" tests/release "$@"
