#!/usr/bin/env bash
# A bill of materials (CycloneDX 1.5) of each executable: every crate that is built into it, with version, licence and checksum.
#   scripts/sbom.sh FOLDER
# A release puts the files beside its wheels and archives.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:?a folder for the files}
version=0.5.9

if ! cargo cyclonedx --version 2>/dev/null | grep -qF "$version"; then
  cargo install --locked cargo-cyclonedx --version "$version"
fi
mkdir -p "$folder"
trap 'rm -f ./*/sbom.cdx.json ./*/*/sbom.cdx.json' EXIT
# With the commit's time in place of today's, the same sources give the same file.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH
# It writes next to each Cargo.toml. What is only for build scripts and tests is not in the executables.
cargo cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename sbom.cdx
for name in tap-ldap target-ldap ldap-service; do
  # Where this was built is nobody's business.
  sed "s|$PWD|.|g" "$name/sbom.cdx.json" > "$folder/$name.cdx.json"
  echo "$folder/$name.cdx.json: $(grep -c '"purl"' "$folder/$name.cdx.json") components"
done
