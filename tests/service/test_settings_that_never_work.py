"""Settings that can never work: each value is valid, and nothing would come of it. They end the start, a reload and --test with exit code 2,
or are a warning at the start, in --test and in doctor where only the directory shows it."""

import hashlib
import json
import secrets
import subprocess

import people
import pytest
from conftest import SERVICE
from directories import OpenLdap, wait_until
from service import configuration
from test_configuration import GROUPS, USERS, about

BOTH = {"base_dn": people.SUFFIX, "filter": "(objectClass=*)"}


def written(rule, kind="users", **write):
    return {"write": {"mapping_rules": {kind: rule}, "undo_dir": "undo", **write}}


JWT = {"issuer": "https://idp.example.com", "audience": "ldap"}

# What is refused, with the setting that is to be named.
REFUSED = {
    "one-filter": ({"users": BOTH, "groups": BOTH}, "groups.filter"),
    "no-entry": ({"users": {"base_dn": USERS, "filter": "(&(objectClass=person)(|))"}}, "users.filter"),
    "both-ways": ({"groups": {"base_dn": GROUPS, "filter": "(&(cn=a)(!(cn=a)))"}}, "groups.filter"),
    "wildcard": ({"login": {"return_hosts": ["app.example.com", "*"]}}, "login.return_hosts[1]"),
    "suffix": ({"login": {"return_hosts": [".example.com"]}}, "login.return_hosts[0]"),
    "url": ({"login": {"return_hosts": ["https://app.example.com/"]}}, "login.return_hosts[0]"),
    "same-dn": (written({"dn_template": f"cn=same,{USERS}"}), "write.mapping_rules.users.dn_template"),
    "elsewhere": (written({"dn_template": f"uid={{uid}},ou=svc,{people.SUFFIX}"}), "write.mapping_rules.users.dn_template"),
    "groups-elsewhere": (written({"dn_template": f"cn={{cn}},{USERS}"}, "groups"), "write.mapping_rules.groups.dn_template"),
    "write-base": (written({}, write_base=[f"ou=svc,{people.SUFFIX}"]), "write.write_base"),
    "body": ({"limits": {"request_bytes": 10}}, "limits.request_bytes"),
    "header": ({"limits": {"header_bytes": 10}}, "limits.header_bytes"),
    "no-claim": ({"jwt": {**JWT, "username_claim": ""}}, "jwt.username_claim"),
    "claim-of-time": ({"jwt": {**JWT, "username_claim": "exp"}}, "jwt.username_claim"),
    "claims": ({"jwt": {**JWT, "username_claim": "sub", "client_claim": "sub"}}, "jwt.username_claim"),
    "attribute-of-claim": ({"users": {"base_dn": USERS, "login_attributes": ["uid", "mail"]}, "jwt": {**JWT, "username_attribute": "mial"}},
                           "jwt.username_attribute"),
    # The usual login attribute is uid or sAMAccountName.
    "attribute-of-claim-by-default": ({"users": {"base_dn": USERS}, "jwt": {**JWT, "username_attribute": "mail"}}, "jwt.username_attribute"),
    "role": ({"roles": [{"role": "admin ", "groups": [people.group_dn("admins")]}]}, "roles[0].role"),
    "public-url": ({"public_url": "ldap.example.com"}, "public_url"),
    # What only the start reads: a pipeline asks --test before it restarts the service.
    "no-session-key": ({"login": {"session_key_file": "/no/such/key"}}, "login.session_key_file"),
    "short-session-key": ({"login": {"session_key_file": "/dev/null"}}, "login.session_key_file"),
    "no-certificate": ({"listen_cert_file": "/no/such/certificate", "listen_key_file": "/no/such/key"}, "listen_cert_file"),
    "no-authorities": ({"jwt": {**JWT, "ca_file": "/no/such/authorities"}}, "jwt.ca_file"),
    "endpoint": ({"otlp_endpoint": "nonsense"}, "otlp_endpoint"),
    "address": ({"listen": "192.0.2.1:8389"}, "listen"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_they_end_the_start(tmp_path, shared_openldap, fault):
    settings, setting = REFUSED[fault]
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"listen": "127.0.0.1:0", **configuration(shared_openldap, tmp_path, **settings)}))
    file.chmod(0o600)
    for flags in ((), ("--test",), ("doctor",)):
        done = subprocess.run([SERVICE, "--config", file, "--log-format", "json", *flags], capture_output=True, text=True, timeout=60)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert done.returncode == 2 and [line for line in lines if line.get("setting") == setting], (flags, done.returncode, done.stderr)


def test_a_reload_with_one_leaves_the_earlier_configuration(services, shared_openldap):
    service = services(shared_openldap)
    service.configure({**service.config, "login": {"return_hosts": ["*.example.com"]}})
    service.reload()
    assert service.log(setting="login.return_hosts[0]", level="error") and service.login("ada", people.ADA.password).status_code == 200


DYNAMIC = people.entry(f"cn=dyn,ou=roles,{people.SUFFIX}", objectClass="groupOfURLs", cn="dyn", memberURL=f"ldap:///{USERS}??sub?(uid=ada)")
NAMESAKE = people.entry(people.group_dn("admin", unit="roles"), objectClass="groupOfNames", cn="admin", member=people.EVE.dn())
BELOW = {"role": "{cn}", "below": f"ou=roles,{people.SUFFIX}"}
ADMIN = {"role": "admin", "groups": [people.group_dn("admins")]}

# What is a warning: the settings, the one that is to be named, and a word of the text.
WARNED = {
    "person": ({"roles": [{"role": "admin", "groups": [people.group_dn("admins"), people.ADA.dn()]}]}, "roles[0].groups[1]", "no group"),
    "dynamic": ({"roles": [BELOW]}, "roles[0].below", "cn=dyn"),
    "other-class": ({"roles": [BELOW], "groups": {"base_dn": GROUPS, "filter": "(objectClass=groupOfUniqueNames)"}}, "roles[0].below", "groups.filter"),
    "namesake": ({"roles": [ADMIN, BELOW]}, "roles[1].below", "cn=admin,ou=roles"),
    "writable": ({"roles": [ADMIN, {"role": "{cn}", "below": GROUPS}]}, "roles[1].below", "SCIM"),
    "read-only": ({"users": {"base_dn": USERS, "scim": {"externalId": "entryUUID"}}}, "users.scim.externalId", "never written"),
    "class": ({"users": {"base_dn": USERS, "scim": {"title": "objectClass"}}}, "users.scim.title", "never written"),
    "both": ({"users": {"base_dn": people.SUFFIX, "filter": "(cn=*)"}}, "groups.filter", "user and a group"),
    "move": (written({"on_delete": {"move_to": USERS}}), "write.mapping_rules.users.on_delete.move_to", "within users.base_dn"),
    "set": (written({"on_delete": {"set": {"title": "left"}}}), "write.mapping_rules.users.on_delete.set", "users.filter"),
    "scopes": ({"roles": [{**ADMIN, "scopes": ["search"]}]}, "roles[0].scopes", "jwt"),
    "referral": ({}, "users.base_dn", "ou=ref"),
}


@pytest.fixture(scope="module")
def odd_openldap(tmp_path_factory):
    """A slapd with a dynamic group, a namesake of a role, and a referral."""
    schemas = ["/etc/ldap/schema/dyngroup.schema"]
    server = OpenLdap(tmp_path_factory.mktemp("odd") / "slapd", more=[NAMESAKE], schemas=schemas)
    server.add(DYNAMIC)
    reference = people.entry(f"ou=ref,{USERS}", objectClass=["referral", "extensibleObject"], ou="ref", ref="ldap://other.example.com/dc=x")
    server.client("ldapadd", "-M", input=reference.encode(), stdout=subprocess.DEVNULL)
    yield server
    server.stop()


@pytest.mark.parametrize("fault", WARNED)
def test_they_are_warnings(services, odd_openldap, fault):
    settings, setting, word = WARNED[fault]
    service = services(odd_openldap, **settings)

    def told(lines):
        return [line for line in lines if line.get("setting") == setting and word in line["message"]]

    lines = wait_until(lambda: told(service.log()), what=f"a line about {setting}")
    assert [line["level"] for line in lines] == ["warning"], lines
    for flags in (("--test",), ("doctor", "--format", "json")):
        code, report, log = about(service, *flags)
        checks = [check for check in report["checks"] if setting in check["detail"] and word in check["detail"]]
        assert code == 0 and (told(json.loads(line) for line in log.splitlines()) or [c["result"] for c in checks] == ["warning"]), report


def test_an_attribute_without_a_rule_for_equality_finds_nobody(services, openldap):
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nadd: jpegPhoto\njpegPhoto: ada\n")
    service = services(openldap, ready=False, users={"base_dn": USERS, "login_attributes": ["jpegPhoto"]})
    code, report, _ = about(service, "--test")
    assert code == 2 and [c for c in report["checks"] if "users.login_attributes[0]" in c["detail"] and not c["ok"]], report


def test_a_login_attribute_of_another_kind_of_directory_is_none_here(services, shared_openldap):
    jwt = {**JWT, "username_attribute": "sAMAccountName"}
    service = services(shared_openldap, ready=False, users={"base_dn": USERS}, jwt=jwt)
    code, report, _ = about(service, "--test")
    assert code == 2 and [c for c in report["checks"] if "jwt.username_attribute" in c["detail"] and not c["ok"]], report
    service.configure({**service.config, "jwt": {**JWT, "username_attribute": "UID"}})
    assert about(service, "--test")[0] == 0


def test_a_value_that_is_never_set_is_told(services, shared_openldap):
    service = services(shared_openldap)
    service.configure({**service.config, **written({"on_delete": {"set": {"userPassword": "x"}}})})
    code, report, _ = about(service, "--test")
    assert code == 2 and [c for c in report["checks"] if c["name"] == "mapping_rules" and not c["ok"]], report


def test_classes_of_new_entries_without_those_of_the_filter_are_told(services, shared_openldap):
    service = services(shared_openldap)
    for classes, code in ((["account"], 2), (["inetOrgPerson"], 0)):
        service.configure({**service.config, **written({"object_classes": classes})})
        found, report, _ = about(service, "--test")
        assert (found, [c["ok"] for c in report["checks"] if c["name"] == "mapping_rules"]) == (code, [code == 0]), report


def test_files_that_others_can_use_are_told(services, shared_openldap, tmp_path):
    """A session key that others read, hashes of tokens and undo files that others write: all of them give rights."""
    key, hashed, undo = tmp_path / "key", tmp_path / "hash", tmp_path / "undo"
    key.write_text("k" * 10 + secrets.token_hex(32))
    hashed.write_text(hashlib.sha256(b"token").hexdigest())
    undo.mkdir()
    files = {"login.session_key_file": (key, 0o644), "api_tokens[0].sha256_file": (hashed, 0o666), "write.undo_dir": (undo, 0o777)}
    settings = {"login": {"session_key_file": str(key)}, **written({}, undo_dir=str(undo)),
                "api_tokens": [{"name": "hr", "sha256_file": str(hashed), "scopes": ["health"]}]}
    for is_open in (True, False):
        for path, mode in files.values():
            path.chmod(mode if is_open else mode & 0o700)
        service = services(shared_openldap, f"open-{is_open}", **settings)
        told = {line.get("setting") for line in service.log(level="warning")} & set(files)
        assert told == (set(files) if is_open else set()), service.log_text()


# Roles


def test_a_role_of_named_groups_is_not_given_by_another_group_of_its_name(services, odd_openldap):
    service = services(odd_openldap, roles=[ADMIN, BELOW])
    eve = service.login("eve", people.EVE.password).json()["user"]
    assert people.group_dn("admin", unit="roles") in eve["groups"] and "admin" not in eve["roles"], eve
    assert "admin" in service.login("ada", people.ADA.password).json()["user"]["roles"]
    lines = [line for line in service.log(level="warning") if line.get("dn") == people.group_dn("admin", unit="roles")]
    assert lines, service.log_text()


def test_roles_of_one_name_are_told(services, openldaps):
    """Members of one group have the rights of the other."""
    unit = f"ou=teams,{people.SUFFIX}"
    teams = [people.entry(dn, objectClass="organizationalUnit") for dn in (unit, f"ou=t1,{unit}", f"ou=t2,{unit}")]
    group = lambda dn, cn, person: people.entry(dn, objectClass="groupOfNames", cn=cn, member=person.dn())  # noqa: E731
    teams += [group(f"cn=Leads,ou=t1,{unit}", "Leads", people.ADA), group(f"cn=leads,ou=t2,{unit}", "leads", people.EVE),
              group(f"cn=alone,ou=t2,{unit}", "alone", people.EVE)]
    below = {"role": "{cn}", "below": unit}
    named = [{"role": name, "groups": [people.group_dn("admins")]} for name in ("boss", "Boss")]
    service = services(openldaps("teams", more=teams), roles=[below, *named])
    lines = wait_until(lambda: [line for line in service.log(level="warning") if str(line.get("setting")).startswith("roles")],
                       what="the warnings")
    assert sorted(line["setting"] for line in lines) == ["roles", "roles[0].below"], lines
    (line,) = [line for line in lines if line["setting"] == "roles[0].below"]
    assert f"ou=t1,{unit}" in line["message"] and f"ou=t2,{unit}" in line["message"] and "alone" not in line["message"]


@pytest.mark.parametrize(("network", "is_told"), [
    ("0.0.0.0/0", True), ("::/0", True), ("10.1.2.3/8", True), ("10.0.0.0/8", False), ("127.0.0.1", False), ("fd00::/8", False)])
def test_proxies_that_are_everybody_are_told(services, shared_openldap, network, is_told):
    service = services(shared_openldap, trusted_proxies=["127.0.0.1", network])
    assert bool(service.log(level="warning", setting="trusted_proxies[1]")) == is_told


# Referrals


def test_answers_that_end_at_a_referral_say_so(services, odd_openldap):
    service = services(odd_openldap)
    body = {"attributes": ["uid"], "count": 2}
    answer = service.request("POST", "/api/v1/ldap/users/search", json=body).json()
    assert [(w["code"], w["count"]) for w in answer["warnings"]] == [("references_not_followed", 1)], answer
    export = service.request("GET", "/api/v1/ldap/export").text
    assert "# entries that refer to other servers, whose entries are not here: 1\n" in export
    assert service.log(level="warning", entries=1)
