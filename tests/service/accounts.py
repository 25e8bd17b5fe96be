"""Accounts in their states, and what the tests of logins share: answers as strangers see them, sessions by the form."""

import datetime

import people

UNKNOWN = ("nobody-has-this", "Pw-nobody-7Qz!")
LONG_AGO = "20200101000000Z"
UNBOUNDED = {"max_failures": 0, "per_address_per_minute": 0}


def code(answer):
    """(status, code) of an answer."""
    return answer.status_code, answer.json().get("code")


def body(answer):
    """What a stranger sees: all but what differs in every answer."""
    shown = {name: value for name, value in answer.json().items() if name != "request_id"}
    headers = {n.lower() for n in answer.headers}
    return answer.status_code, shown, headers


POLICIES = {
    "expired": {"pwdMaxAge": "3600"},
    "grace": {"pwdMaxAge": "3600", "pwdGraceAuthNLimit": "2"},
    "warn": {"pwdMaxAge": "1000000000", "pwdExpireWarning": "999999999"},
    "reset": {"pwdMustChange": "TRUE"},
}


def account(name, suffix=people.SUFFIX, **attributes):
    """LDIF of a person with a state."""
    p = people.person(name, f"State {name}", "State")
    return people.entry(
        p.dn(suffix), objectClass="inetOrgPerson", cn=p.cn, sn=p.sn,
        **{"uid": p.uid, "mail": p.mail, "userPassword": p.password, **attributes},
    )


def governed(name, policy, **attributes):
    return account(name, pwdPolicySubentry=f"cn={policy},ou=policies,{people.SUFFIX}", **attributes)


def password_of(name):
    return people.person(name, "", "").password


SLAPD_STATES = [
    governed("expired", "expired", pwdChangedTime=LONG_AGO),
    governed("grace", "grace", pwdChangedTime=LONG_AGO),
    governed("warned", "warn", pwdChangedTime=LONG_AGO),
    governed("reset", "reset", pwdReset="TRUE"),
    account("off", pwdAccountLockedTime="000001010000Z"),
    account("locked", pwdAccountLockedTime=datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%SZ")),
]


# Sessions by the form


def browse(service, method, path, cookies=None, **options):
    """A request of a browser with these cookies alone."""
    service.client.cookies.clear()
    headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())} if cookies else {}
    answer = service.client.request(method, path, headers=headers, **options)
    service.client.cookies.clear()
    return answer


def token_of(page):
    return page.text.split('name="form_token" value="')[1].split('"')[0]


def log_in_by_form(service, name, password):
    """The cookies of a session."""
    page = browse(service, "GET", "/login")
    cookies = dict(page.cookies)
    form = {"username": name, "password": password, "form_token": token_of(page)}
    answer = browse(service, "POST", "/login", cookies, data=form)
    assert answer.status_code == 303, answer.text
    cookies |= dict(answer.cookies)
    service.secrets.add(cookies["ldap_session"])
    return cookies


def me(service, cookies):
    return browse(service, "GET", "/api/v1/auth/me", cookies)
