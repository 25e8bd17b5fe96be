#!/bin/sh
# The demo, called by `make demo`: an invented company's directory goes through tap-ldap | target-ldap twice, once with
# a mapping rule and once as it is, from LDIF to LDIF. Needs the Rust toolchain and POSIX tools; no server, no network
# once the crates are there. Fails when any step fails, and when the results are not what they should be.
#   PROFILE=release   cargo's profile (default: dev, the quickest to build)
#   BIN=DIR           executables already built: nothing is built then
set -eu

cd "$(dirname "$0")/../.."
demo=catalogs/demo
out="demo-output" # target.json and mirror-target.json name it too
profile=${PROFILE:-dev}

fail() {
  echo "demo: $1" >&2
  shift
  for log in "$@"; do
    [ ! -s "$log" ] || { echo "--- the end of $log" >&2; tail -n 15 "$log" >&2; }
  done
  exit 1
}

# expect WHAT NUMBER WANTED
expect() { [ "$2" -eq "$3" ] || fail "$1: $2, and it should be $3 (see $out/)"; }

# discover NAME CONFIG: the catalog
discover() {
  mkdir -p "$out/$1"
  "$tap" --config "$2" --discover >"$out/$1/catalog.json" 2>"$out/$1/discover.log" ||
    fail "tap-ldap --discover with $2 failed" "$out/$1/discover.log"
}

# sync NAME TAP-CONFIG TARGET-CONFIG: tap-ldap | target-ldap. `tee` keeps the messages to look at, and a file the
# tap's exit code: a pipe's own code is its last command's.
sync() {
  dir=$out/$1
  {
    code=0
    "$tap" --config "$2" --catalog "$dir/catalog.json" 2>"$dir/tap.log" || code=$?
    echo "$code" >"$dir/tap.exit"
  } | tee "$dir/messages.jsonl" | "$target" --config "$3" >"$dir/state.jsonl" 2>"$dir/target.log" ||
    fail "target-ldap with $3 failed" "$dir/target.log" "$dir/tap.log"
  code=$(cat "$dir/tap.exit")
  rm "$dir/tap.exit"
  [ "$code" -eq 0 ] || fail "tap-ldap with $2 failed (exit code $code)" "$dir/tap.log"
}

# counts MESSAGES: "records stream", one stream a line, in the order they came; a stream without records has 0.
counts() {
  awk '
    /"type": *"(SCHEMA|RECORD)"/ && match($0, /"stream": *"[^"]*"/) {
      stream = substr($0, RSTART, RLENGTH)
      sub(/^"stream": *"/, "", stream); sub(/"$/, "", stream)
      if (!(stream in n)) { n[stream] = 0; order[++streams] = stream }
      if ($0 ~ /"type": *"RECORD"/) n[stream]++
    }
    END { for (i = 1; i <= streams; i++) printf "%8d  %s\n", n[order[i]], order[i] }' "$1"
}

# records MESSAGES: the records alone, without what differs from run to run, in an order that can be compared.
records() {
  sed -n '/"type": *"RECORD"/{
    s/"time_extracted": *"[^"]*"//
    s/"version": *[0-9]*//
    p
  }' "$1" | LC_ALL=C sort
}

# lines REGEX FILE: how many lines match, an LDIF's folded lines (RFC 2849) taken as one
lines() {
  awk '/^ / { printf "%s", substr($0, 2); next } { printf "%s%s", end, $0; end = "\n" } END { print "" }' "$2" |
    grep -c -- "$1" || true
}

if [ -z "${BIN:-}" ]; then
  cargo build --locked --profile "$profile" -p tap-ldap -p target-ldap
  case $profile in
    dev) BIN=${CARGO_TARGET_DIR:-target}/debug ;;
    *) BIN=${CARGO_TARGET_DIR:-target}/$profile ;;
  esac
fi
tap=$BIN/tap-ldap
target=$BIN/target-ldap

rm -rf "$out"
mkdir "$out"
company=$demo/company.ldif
people=$(lines '^objectClass: person$' "$company")
groups=$(lines '^objectClass: groupOfNames$' "$company")
everything=$(lines '^dn:' "$company")

cat <<END

The demo company: $everything entries in $company
END

discover provision "$demo/tap.json"
sync provision "$demo/tap.json" "$demo/target.json"
users_written=$(lines '^dn: uid=.*,ou=users,dc=company,dc=com$' "$out/company.ldif")
groups_written=$(lines '^dn: cn=.*,ou=groups,dc=company,dc=com$' "$out/company.ldif")
cat <<END

1. Provisioned: people and groups, by the mapping rules of $demo/target.json, into dc=company,dc=com
$(counts "$out/provision/messages.jsonl")
   written: $users_written users, $groups_written groups
END
expect "users provisioned" "$users_written" "$people"
expect "groups provisioned" "$groups_written" "$groups"
# The rule puts everybody into one container, and dn_rewrite takes the references along.
expect "references to the old directory left" "$(lines 'dc=example,dc=com' "$out/company.ldif")" 0

discover mirror "$demo/mirror-tap.json"
sync mirror "$demo/mirror-tap.json" "$demo/mirror-target.json"
mirrored=$(lines '^dn:' "$out/mirror.ldif")
cat <<END

2. Mirrored: every entry as it is, without a rule; one stream for each container of the directory
$(counts "$out/mirror/messages.jsonl")
   written: $mirrored entries
END
expect "entries mirrored" "$mirrored" "$everything"

# Read back through the same catalog, the mirror has to give the same records, value by value.
printf '{"server_url": "ldif:%s/mirror.ldif"}\n' "$out" >"$out/mirror/readback.json"
"$tap" --config "$demo/mirror-tap.json" --config "$out/mirror/readback.json" --catalog "$out/mirror/catalog.json" \
  >"$out/mirror/readback.jsonl" 2>"$out/mirror/readback.log" || fail "the mirror cannot be read" "$out/mirror/readback.log"
records "$out/mirror/messages.jsonl" >"$out/mirror/records.source"
records "$out/mirror/readback.jsonl" >"$out/mirror/records.mirror"
expect "records in the mirror's streams" "$(lines . "$out/mirror/records.source")" "$everything"
cmp -s "$out/mirror/records.source" "$out/mirror/records.mirror" ||
  fail "the mirror differs from its source: compare $out/mirror/records.source with records.mirror there"
rm "$out/mirror/records.source" "$out/mirror/records.mirror" "$out/mirror/readback.json" "$out/mirror/readback.jsonl"
echo "   read back: the same records, value by value"

mkdir "$out/again"
cp "$out/mirror/catalog.json" "$out/again/catalog.json"
cp "$out/mirror.ldif" "$out/again/before.ldif"
sync again "$demo/mirror-tap.json" "$demo/mirror-target.json"
cmp -s "$out/again/before.ldif" "$out/mirror.ldif" ||
  fail "the second mirror changed something: compare $out/again/before.ldif with $out/mirror.ldif"
rm "$out/again/before.ldif"
cat <<END

3. Mirrored again: nothing changed, as nothing differed

Results in $out/
   company.ldif              the provisioned directory
   mirror.ldif               the mirrored directory
   provision/, mirror/       catalog.json, messages.jsonl (what went through the pipe), state.jsonl, logs

Next
   less $out/company.ldif
   change a value or a rule in $demo/tap.json or $demo/target.json and run 'make demo' again
   $tap --config $demo/tap.json --test
   make demo-openldap        the same between two real OpenLDAP servers
END
