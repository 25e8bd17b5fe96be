#!/usr/bin/env bash
# Prints the oldest glibc that has every symbol which executables use, and fails if it is newer than allowed.
#   scripts/glibc-floor.sh NEWEST EXECUTABLE ...
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 NEWEST EXECUTABLE ..." >&2; exit 2; }

newest=$1
shift
code=0
for program; do
  floor=$(readelf --version-info --wide "$program" | sed -n 's/.*Name: GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1)
  [ -n "$floor" ] || { echo "glibc-floor: $program uses no symbol of glibc" >&2; exit 1; }
  echo "$program: glibc $floor"
  [ "$(printf '%s\n%s\n' "$floor" "$newest" | sort -V | tail -n 1)" = "$newest" ] ||
    { echo "glibc-floor: $program needs glibc $floor; the newest allowed is $newest" >&2; code=1; }
done
exit "$code"
