"""The configuration against the directory: what it names and the directory does not have is said at once, and not by 401 or 500 to everybody."""

import json
import subprocess
import time

import people
import pytest
from conftest import SERVICE
from directories import wait_until

USERS = f"ou=people,{people.SUFFIX}"
GROUPS = f"ou=groups,{people.SUFFIX}"

# A wrong part of the configuration, the setting that is to be named, its nearest name, and whether it fails.
FAULTS = {
    "login-attribute": ({"users": {"base_dn": USERS, "login_attributes": ["uidd"]}}, "users.login_attributes[0]", "uid", True),
    "one-login-attribute": ({"users": {"base_dn": USERS, "login_attributes": ["uid", "maill"]}}, "users.login_attributes[1]", "mail", True),
    "filter-class": ({"users": {"base_dn": USERS, "filter": "(objectClass=inetOrgPersn)"}}, "users.filter", "inetOrgPerson", True),
    "filter-attribute": ({"users": {"base_dn": USERS, "filter": "(&(objectClass=person)(maill=*))"}}, "users.filter", "mail", True),
    "filter-part": ({"users": {"base_dn": USERS, "filter": "(|(objectClass=person)(objectClass=acount))"}}, "users.filter", "account", False),
    "scim-user": ({"users": {"base_dn": USERS, "scim": {"nickName": "carLicence"}}}, "users.scim.nickName", "carLicense", True),
    "scim-path": ({"users": {"base_dn": USERS, "scim": {"nickNam": "carLicense"}}}, "users.scim.nickNam", None, True),
    "scim-group": ({"groups": {"base_dn": GROUPS, "scim": {"externalId": "busnessCategory"}}}, "groups.scim.externalId", "businessCategory", True),
    "users-base": ({"users": {"base_dn": f"ou=poeple,{people.SUFFIX}"}}, "users.base_dn", None, True),
    "groups-base": ({"groups": {"base_dn": f"ou=grops,{people.SUFFIX}"}}, "groups.base_dn", None, True),
    "role-group": ({"roles": [{"role": "admin", "groups": [people.group_dn("admins"), people.group_dn("admns")]}]}, "roles[0].groups[1]", None, False),
    "role-below": ({"roles": [{"role": "{cn}", "below": f"ou=rolls,{people.SUFFIX}"}]}, "roles[0].below", None, False),
    "role-attribute": ({"roles": [{"role": "{cnn}", "below": f"ou=roles,{people.SUFFIX}"}]}, "roles[0].role", "cn", False),
}


def about(service, *flags):
    """(exit code, JSON) of the executable with the service's configuration."""
    done = subprocess.run(
        [SERVICE, "--config", service.config_path, "--log-format", "json", *flags], capture_output=True, text=True, timeout=60,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_directory_does_not_have_is_named(services, shared_openldap, fault):
    settings, setting, near, fails = FAULTS[fault]
    # The bases, the filters and what logins need are a part of readiness.
    is_ready = not fails or fault.startswith("scim")
    service = services(shared_openldap, ready=is_ready, **settings)
    assert service.client.get("/health/ready").status_code == (200 if is_ready else 503)
    level, grade = ("error", "failed") if fails else ("warning", "warning")
    # The log, when the directory is opened.
    lines = wait_until(lambda: service.log(setting=setting), what=f"a line about {setting}")
    assert [line["level"] for line in lines] == [level], lines
    assert lines[0].get("nearest") == near, lines
    # The report of a running service.
    answer = service.request("GET", "/api/v1/health")
    assert answer.status_code == (503 if fails else 200), answer.text
    found = [check for check in answer.json()["checks"] if setting in check["detail"]]
    assert found and all(check["ok"] != fails for check in found), answer.text
    # --test, whose exit code is that of a wrong setting.
    code, report, _ = about(service, "--test")
    assert code == (2 if fails else 0), report
    found = [check for check in report["checks"] if setting in check["detail"]]
    assert found and all(check["ok"] != fails for check in found), report
    # doctor.
    code, report, _ = about(service, "doctor", "--format", "json")
    assert code == (1 if fails else 0), report
    assert [check["result"] for check in report["checks"] if setting in check["detail"]] == [grade], report


@pytest.mark.parametrize("kind", ["users", "groups"])
@pytest.mark.parametrize("filter", ["(objectClass=inetOrgPersn)", "(&(objectClass=*)(employeeTyp=x))", "(!(objectClas=x))"])
def test_a_filter_that_matches_no_entry_is_no_empty_directory(services, shared_openldap, kind, filter):
    base = {"users": USERS, "groups": GROUPS}[kind]
    service = services(shared_openldap, ready=False, **{kind: {"base_dn": base, "filter": filter}})
    answers = [
        service.login("ada", people.ADA.password),
        *(service.request("GET", path) for path in ("/scim/v2/Users", "/scim/v2/Groups", "/api/v1/ldap/export")),
        service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(uid=ada)"}),
    ]
    for answer in answers:
        assert answer.status_code == 500 and f"{kind}.filter" in answer.json()["detail"], answer.text
        assert answer.json().get("code", "misconfigured") == "misconfigured"
    assert service.client.get("/health/ready").status_code == 503
    (check,) = [check for check in service.request("GET", "/api/v1/health").json()["checks"] if check["name"] == f"{kind}.filter"]
    assert not check["ok"]


def test_a_configuration_without_a_fault_is_told_to_be_well(services, shared_openldap):
    service = services(shared_openldap)
    answer = service.request("GET", "/api/v1/health")
    assert answer.status_code == 200
    names = {check["name"] for check in answer.json()["checks"]}
    assert {"login_attributes", "users.filter", "scim", "groups.base_dn", "roles", "undo_dir"} <= names, names
    assert all(check["ok"] and check.get("result", "ok") == "ok" for check in answer.json()["checks"]), answer.text
    code, report, _ = about(service, "--test")
    assert (code, report["status"]) == (0, "healthy")
    assert not service.log(level="error") and not [line for line in service.log(level="warning") if "setting" in line], service.log_text()


def test_doctor_is_about_the_service(services, shared_openldap):
    service = services(shared_openldap)
    code, report, _ = about(service, "doctor", "--format", "json")
    assert code == 0, report
    names = [check["name"] for check in report["checks"]]
    assert {"login_attributes", "groups.base_dn", "roles", "undo_dir", "id", "indexes", "write access", "password policy"} <= set(names), names
    # Matters of tap-ldap.
    assert not {"change key", "change tracking", "contextCSN"} & set(names), names
    for word in ("FULL_TABLE", "INCREMENTAL", "LOG_BASED", "track_deletions"):
        assert word not in json.dumps(report), word


def test_an_undo_dir_that_cannot_be_written_is_told(services, shared_openldap, tmp_path):
    service = services(shared_openldap)
    # A file in place of the folder: the tests may run as a user whom no permission stops.
    folder = tmp_path / "other-undo"
    folder.write_text("")
    service.configure({**service.config, "write": {**service.config["write"], "undo_dir": str(folder)}})
    code, report, _ = about(service, "--test")
    assert code == 2, report
    code, report, _ = about(service, "doctor", "--format", "json")
    assert code == 1
    assert [check["result"] for check in report["checks"] if check["name"] == "undo_dir"] == ["failed"]
    # A folder that is not there yet is not made by those who only look.
    folder.unlink()
    assert about(service, "--test")[0] == 0
    assert not folder.exists()


def test_bodies_of_another_type_are_refused_by_every_route_with_json(services, shared_openldap):
    """A web page elsewhere can send text/plain and forms without asking (a simple request), and JSON only after asking."""
    service = services(shared_openldap)
    document = service.client.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            kinds = set(operation.get("requestBody", {}).get("content", {}))
            if not any("json" in kind for kind in kinds):
                continue
            tried += 1
            path_of_one = path.replace("{id}", "00000000-0000-0000-0000-000000000000")
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
                headers = {"Origin": "https://evil.test"} | ({"Content-Type": kind} if kind else {})
                content = json.dumps({"username": "ada", "password": people.ADA.password}).encode()
                answer = service.request(method.upper(), path_of_one, headers=headers, content=content)
                assert answer.status_code == 415, (method, path, kind, answer.text)
            assert "415" in operation["responses"], (method, path)
    assert tried >= 8, tried


def test_a_name_that_only_the_filter_leaves_out_is_in_the_log(services, openldap):
    dn = f"uid=posix,{USERS}"
    openldap.add(people.entry(
        dn, objectClass=["account", "simpleSecurityObject"], uid="posix",
        userPassword="Pw-posix-7Qz!",
    ))
    service = services(openldap, users={"base_dn": USERS})
    assert service.login("posix", "Pw-posix-7Qz!").status_code == 401
    lines = wait_until(lambda: service.log(setting="users.filter"), what="a line about users.filter")
    assert [(line["level"], line["dn"]) for line in lines] == [("info", dn)]
    # Once for entries of these classes; a name that nobody has is not told.
    assert service.login("posix", "Pw-posix-7Qz!").status_code == 401
    assert service.login("nobody-has-this", "x").status_code == 401
    time.sleep(0.5)
    assert len(service.log(setting="users.filter")) == 1
    again = services(openldap, name="again", users={"base_dn": USERS, "filter": "(objectClass=account)"})
    assert again.login("posix", "Pw-posix-7Qz!").status_code == 200


def test_a_user_without_an_id_is_an_error(services, openldaps):
    """Applications know people by Remote-Id: an empty one would make all people one."""
    hidden = f'access to attrs=entryUUID by dn.exact="{people.service_dn()}" none by * read\n'
    service = services(openldaps("hidden", access=hidden), ready=False)
    service.wait("/health/live")
    answer = service.login("ada", people.ADA.password)
    assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured"), answer.text
    assert service.client.get("/health/ready").status_code == 503
    code, report, _ = about(service, "--test")
    assert code == 2 and [check["ok"] for check in report["checks"] if check["name"] == "users"] == [False], report


def test_a_key_that_is_no_file_is_refused(services, shared_openldap):
    service = services(shared_openldap)
    for path in ("/dev/zero", str(service.folder)):
        service.configure({**service.config, "login": {"session_key_file": path}})
        done = subprocess.run([SERVICE, "--config", service.config_path], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2, done.stderr


def test_init_writes_the_file_that_the_guide_names(shared_openldap, tmp_path):
    config = tmp_path / "server.json"
    config.write_text(json.dumps({
        "server_url": shared_openldap.url, "bind_dn": people.service_dn(), "bind_password": people.SERVICE_PASSWORD,
    }))
    config.chmod(0o600)
    command = [SERVICE, "--config", config, "init", "--yes"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "service.json").read_text())
    assert written["users"]["base_dn"] == USERS and not (tmp_path / "ldap-service.json").exists()
