#!/usr/bin/env bash
# Prints the version of the workspace; with --time, the time of the last commit in seconds, for archives that do not depend on the clock.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --time ]; then
  echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
else
  awk '/^\[/ { on = $0 == "[workspace.package]" } on && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' Cargo.toml
fi
