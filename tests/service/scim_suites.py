"""The SCIM suites of others, over any server: scim2-cli with scim2-tester, and scim-sanity."""

import collections
import json
import os
import re

from conftest import run, tool

# What scim2-tester must have tried for User and Group; a server that advertises nothing is not conformant for that.
CHECKS = {
    "service_provider_config_endpoint", "query_all_schemas", "query_all_resource_types", "random_url", "object_creation",
    "object_query", "object_query_without_id", "object_replacement", "object_deletion", "check_add_attribute",
    "check_remove_attribute", "check_replace_attribute",
}


def scim2_tester(url, token, folder):
    """Runs `scim test`. Returns (checks by status, the check titles, output)."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1"}
    if token:
        environment["SCIM_CLI_HEADERS"] = f"Authorization: Bearer {token}"
    done = run(tool("scim", "scim"), "--url", url, "test", "--verbose", env=environment, code=None, cwd=folder)
    lines = re.findall(r"^([A-Z]+) (\w+)$", done.stdout, re.M)
    by_status = collections.Counter(status for status, _ in lines)
    return by_status, {title for _, title in lines}, done.stdout + done.stderr


def scim_sanity(url, token, folder, *arguments):
    """Runs `scim-sanity probe`. Returns its report."""
    command = [tool("scim", "scim-sanity"), "probe", url, "--i-accept-side-effects", "--json-output", *arguments]
    # It has no other way for a token: this one is of the tests only.
    command += ["--token", token] if token else []
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = run(*command, code=None, cwd=folder, env=environment)
    return json.loads(done.stdout)


def failures(report):
    """What is neither a pass nor a skip, as lines."""
    return [f"{r['status']} {r['name']}: {r.get('message', '')}" for r in report["results"] if r["status"] not in ("pass", "skip")]
