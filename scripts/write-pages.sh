#!/usr/bin/env bash
# Writes an executable's manual pages and shell completions below a folder, where systems look for them:
#   scripts/write-pages.sh target/release/tap-ldap /usr/local
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 EXECUTABLE PREFIX" >&2; exit 2; }
executable=$1
share=$2/share
name=$(basename "$executable")

mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" \
  "$share/fish/vendor_completions.d"
"$executable" man > "$share/man/man1/$name.1"
commands=$("$executable" -h | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
for command in $commands; do
  "$executable" man "$command" > "$share/man/man1/$name-$command.1"
done
"$executable" completions bash > "$share/bash-completion/completions/$name"
"$executable" completions zsh > "$share/zsh/site-functions/_$name"
"$executable" completions fish > "$share/fish/vendor_completions.d/$name.fish"
