#!/usr/bin/env bash
# Prints a value that only the publisher knows, from Cargo.toml ([workspace.package] and [workspace.metadata.release]).
#   scripts/release-values.sh repository|maintainer
#   scripts/release-values.sh check    exits with 1, and names the values, while one is still a placeholder (host or domain .invalid)
set -euo pipefail
cd "$(dirname "$0")/.."

value() {
  awk -v table="$1" -v key="$2" '/^\[/ { on = $0 == "[" table "]" } on && $1 == key { sub(/^[^"]*"/, ""); sub(/".*/, ""); print; exit }' Cargo.toml
}

case ${1:-} in
  repository) value workspace.package repository ;;
  maintainer) value workspace.metadata.release maintainer ;;
  check)
    code=0
    for name in repository maintainer; do
      value=$("$0" "$name")
      case $value in
        '' | *.invalid*)
          echo "release: $name is \"$value\" in Cargo.toml: set it before a release, then run \`make docs\`" >&2
          code=1 ;;
      esac
    done
    exit "$code" ;;
  *) echo "usage: $0 repository|maintainer|check" >&2; exit 2 ;;
esac
