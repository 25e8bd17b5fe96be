#!/usr/bin/env bash
# Compiles packaging/gssapi/forward.c, which loads the machine's MIT Kerberos when it is needed, for the linker to take in place of
# libgssapi_krb5.so, into the folder OUT.
#   scripts/build-gssapi.sh TARGET OUT PYTHON
# PYTHON: one that has the module ziglang. Needs the header gssapi/gssapi.h (Debian: libkrb5-dev). Prints what the build of the crate
# libgssapi-sys needs in its environment to use it.
set -euo pipefail
[ $# -eq 3 ] || { echo "usage: $0 TARGET OUT PYTHON" >&2; exit 2; }

python=$3
source=$(dirname "$0")/../packaging/gssapi/forward.c
# By the content of the source: Cargo links anew when the path changes, and not when a library does.
out=$2/$(sha256sum "$source" | cut -c 1-12)
mkdir -p "$out/lib" "$out/include"
out=$(cd "$out" && pwd)
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
for name in gssapi gssapi.h krb5 krb5.h; do
  ln -sfn "$header/$name" "$out/include/$name"
done

"$python" -m ziglang cc -target "$target" -O2 -fPIC -Wall -Wextra -Werror -I "$out/include" -c "$source" -o "$out/forward.o"
rm -f "$out/lib/libgssapi_forward.a"
"$python" -m ziglang ar rcs "$out/lib/libgssapi_forward.a" "$out/forward.o"
# The crate asks for a shared library: a linker script is one, as far as the linker is concerned.
echo 'INPUT(libgssapi_forward.a)' >"$out/lib/libgssapi_krb5.so"
# bindgen reads the headers of this machine's C library: what it needs of them, the sizes of types, is the same in all versions.
# It is told of them as prefixes, each with a folder `include`.
prefixes=$out
number=0
clang=
for folder in /usr/lib/clang/*/include /usr/lib/llvm-*/lib/clang/*/include; do
  [ ! -d "$folder" ] || clang=$folder
done
for folder in "$clang" /usr/include /usr/include/"${1%%-*}-linux-gnu"; do
  [ -d "$folder" ] || continue
  number=$((number + 1))
  mkdir -p "$out/headers-$number/lib"
  ln -sfn "$folder" "$out/headers-$number/include"
  prefixes+=:$out/headers-$number
done
echo "LIBGSSAPI_IMPL=mit LIBGSSAPI_PREFIX=$prefixes MIT_KRB5_GSSAPI_NO_PKG_CONFIG=1"
