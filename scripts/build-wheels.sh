#!/bin/sh
# Builds tap-ldap and target-ldap as Python wheels.
#   scripts/build-wheels.sh OUT [PROFILE [FEATURES]]
# OUT: the folder they are put into; what is in it of an earlier build goes. PROFILE: Cargo's, release unless said otherwise.
# FEATURES: Cargo's, `gssapi` or `ntlm`. Such executables need the MIT Kerberos of the machine they run on, which no manylinux has: the
# wheels are for machines like this one then, and are tagged so.
# maturin looks which version of glibc the executables ask for, and tags the wheels with the oldest manylinux that has it.
set -eu

out=$1
profile=${2:-release}
features=${3:-}
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
tools=$target/wheel-tools
scripts/install-venv.sh tests/wheels/requirements.txt "$tools"

mkdir -p "$out"
rm -f "$out"/tap_ldap-*.whl "$out"/target_ldap-*.whl
for package in tap-ldap target-ldap; do
  "$tools/bin/maturin" build --quiet --locked --profile "$profile" --manifest-path "$package/Cargo.toml" \
    --target-dir "$target" --out "$out" ${features:+--features "$features" --compatibility linux}
done
ls "$out"/*.whl
