"""`write.protect` that protects nothing is told before the first write: at the start, at a reload, by `--test` and `doctor`."""

import people
from directories import wait_until
from test_configuration import about

IDLE = {"dns": [f"uid=ada,ou=poeple,{people.SUFFIX}"], "below": [f"ou=nowhere,{people.SUFFIX}"], "filter": "(uid=nosuch)"}
SETTINGS = {"write.protect.dns", "write.protect.below", "write.protect.filter"}
GOOD = {"dns": [people.ADA.dn()], "below": [f"ou=roles,{people.SUFFIX}"], "filter": "(uid=bob)"}


def told(service, seen=0):
    lines = [line for line in service.log(level="warning") if line.get("setting") in SETTINGS]
    return lines[seen:]


def found(service):
    for flags in (("--test",), ("doctor", "--format", "json")):
        code, report, _ = about(service, *flags)
        yield code, [check for check in report["checks"] if check["name"] == "protect"]


def test_a_protection_of_nothing_is_told_before_a_write(openldap, writing):
    service = writing(openldap, write={"protect": IDLE})
    lines = wait_until(lambda: len(told(service)) >= 3 and told(service), what="the warnings")
    assert {line["setting"] for line in lines} == SETTINGS
    for code, checks in found(service):
        assert code == 0 and {check["result"] for check in checks} == {"warning"}
        assert all(any(setting in check["detail"] for check in checks) for setting in SETTINGS), checks
    service.configure({**service.config, "write": {**service.config["write"], "protect": GOOD}})
    service.reload()
    assert all(code == 0 and not checks for code, checks in found(service))
    service.configure({**service.config, "write": {**service.config["write"], "protect": {**GOOD, "dns": IDLE["dns"]}}})
    seen = len(told(service))
    service.reload()
    (line,) = wait_until(lambda: told(service, seen), what="the warning")
    assert line["setting"] == "write.protect.dns"


def test_a_protection_by_a_name_that_nobody_knows_fails(openldap, writing):
    service = writing(openldap, ready=False, write={"protect": {"filter": "(employeeTyp=x)"}})
    for code, checks in found(service):
        assert code != 0 and [check["result"] for check in checks] == ["failed"] and "employeeTyp" in checks[0]["detail"], checks
