#!/bin/sh
# Installs what `make e2e` drives from PyPI (dbt, the Singer SDK, loaders, taps, checkers), each group into a Python environment
# of its own, as pinned in tests/e2e/requirements/; and PostgreSQL's server from Debian's packages.
#   scripts/install-e2e.sh DIR [GROUP ...]
# Does nothing for what is up to date. Without groups: all. The machine's own Python packages are left alone.
set -eu

dir=$1
shift
requirements=$(dirname "$0")/../tests/e2e/requirements
[ $# -gt 0 ] || set -- dbt singer jsonl tap dagster

missing=
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="python3 python3-venv"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
if [ -n "$missing" ]; then
  sudo=
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  # Debian starts a cluster of its own otherwise (postgresql-common reads this when the package is configured).
  if command -v apt-get >/dev/null && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $sudo mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  # Without quotes: a list of packages.
  # shellcheck disable=SC2086
  "$(dirname "$0")/install-packages.sh" install-e2e $missing
fi

for group; do
  "$(dirname "$0")/install-venv.sh" "$requirements/$group.txt" "$dir/$group"
done
