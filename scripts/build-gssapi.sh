#!/usr/bin/env bash
# Compiles packaging/gssapi/forward.c, which loads the machine's MIT Kerberos when it is needed, as OUT/lib/libgssapi_krb5.a.
#   scripts/build-gssapi.sh TARGET OUT PYTHON
# PYTHON: one that has the module ziglang. Needs the header gssapi/gssapi.h (Debian: libkrb5-dev). Prints what the build of the crate
# libgssapi-sys needs in its environment to use it.
set -euo pipefail
[ $# -eq 3 ] || { echo "usage: $0 TARGET OUT PYTHON" >&2; exit 2; }

mkdir -p "$2/lib" "$2/include"
out=$(cd "$2" && pwd)
python=$3
source=$(dirname "$0")/../packaging/gssapi/forward.c
case $1 in
  *-linux-gnu) target=${1%%-*}-linux-gnu.2.17 ;;
  *) echo "build-gssapi: $1: only Linux with glibc loads the library at run time" >&2; exit 2 ;;
esac

# The headers of Kerberos alone: those of the machine's glibc must not come before zig's.
header=
for folder in /usr/include /usr/include/mit-krb5 "${LIBGSSAPI_PREFIX:-/usr}/include"; do
  [ ! -e "$folder/gssapi/gssapi.h" ] || header=$folder
done
[ -n "$header" ] || { echo "build-gssapi: gssapi/gssapi.h is missing: install libkrb5-dev (Debian), krb5-devel (Fedora)" >&2; exit 1; }
ln -sfn "$header/gssapi" "$out/include/gssapi"

"$python" -m ziglang cc -target "$target" -O2 -fPIC -Wall -Wextra -Werror -I "$out/include" -c "$source" -o "$out/forward.o"
rm -f "$out/lib/libgssapi_krb5.a"
"$python" -m ziglang ar rcs "$out/lib/libgssapi_krb5.a" "$out/forward.o"
echo "LIBGSSAPI_IMPL=mit LIBGSSAPI_PREFIX=$out MIT_KRB5_GSSAPI_NO_PKG_CONFIG=1"
