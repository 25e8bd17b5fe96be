"""Forward authentication by nginx (auth_request), Caddy (forward_auth) and what Traefik does (forwardAuth), with people in headless Chromium."""

import httpx
import people
import proxies
import pytest
from browser import browser, log_in, page
from service import basic


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(params=list(proxies.PROXIES))
def proxied(request, services, shared_openldap, application, tmp_path):
    """(proxy, service): the page asks for the role `admin`."""
    service = services(shared_openldap)
    proxy = proxies.PROXIES[request.param](tmp_path / "proxy", service.port, application.port)
    yield proxy, service
    proxy.stop()


def headers_of(answer):
    """The headers that the page got, names in lower case with `-`, as a CGI application would read them."""
    found = {}
    for name, value in answer.json():
        found.setdefault(name.lower().replace("_", "-"), []).append(value)
    return found


def get(proxy, path, headers=None):
    return httpx.get(proxy.url + path, headers=headers, trust_env=False, timeout=30)


def test_log_in_see_the_page_and_log_out(proxied, chromium, application):
    proxy, service = proxied
    with page(chromium) as tab:
        answer = tab.goto(proxy.url + "/page?a=1")
        assert "/login" in tab.url or answer.status == proxy.unknown
        assert tab.locator("#protected").count() == 0
        # A wrong password: the form again, no session, and the page did not get a request.
        log_in(tab, "ada", "wrong-password-3Xy")
        assert "/login" in tab.url
        assert tab.locator("input[name=password]").input_value() == ""
        assert not application.requests
        log_in(tab, "ada", people.ADA.password)
        tab.wait_for_url("**/page?a=1")
        assert tab.locator("#protected").count() == 1
        assert "Remote-User: ada" in tab.locator("ul").inner_text()
        cookies = tab.context.cookies()
        assert cookies, "no session cookie"
        for cookie in cookies:
            assert cookie["httpOnly"] and cookie["sameSite"] in ("Lax", "Strict"), cookie
            assert people.ADA.password not in cookie["value"]
        session = {cookie["name"]: cookie["value"] for cookie in cookies}
        tab.goto(proxy.url + "/login")
        tab.click("form[action*=logout] [type=submit]")
        answer = tab.goto(proxy.url + "/page")
        assert "/login" in tab.url or answer.status == proxy.unknown
        assert tab.locator("input[name=password]").count() == 1
    # The cookie of before the logout is worth nothing.
    assert httpx.get(proxy.url + "/page", cookies=session, trust_env=False).status_code == proxy.unknown
    service.secrets.update(session.values())
    service.secrets.add("wrong-password-3Xy")


def test_a_role_that_one_does_not_have_is_403(proxied, chromium, application):
    proxy, _service = proxied
    with page(chromium) as tab:
        tab.goto(proxy.url + "/page")
        log_in(tab, "eve", people.EVE.password)
        answer = tab.goto(proxy.url + "/page")
        assert answer.status == 403
    assert not application.requests
    assert get(proxy, "/page", basic("eve", people.EVE.password)).status_code == 403


def test_identity_headers_from_outside_are_cleared(proxied):
    """Trap 20: neither with a login, nor without one, nor spelled another way."""
    proxy, _service = proxied
    forged = [(spelled, "forged") for n in proxies.REMOTE for spelled in (n, n.lower(), n.replace("-", "_"))]
    for person in (people.ADA, people.JANE):
        answer = get(proxy, "/page?json", [*forged, *basic(person.uid, person.password).items()])
        assert answer.status_code == 200, answer.text
        arrived = headers_of(answer)
        assert arrived["remote-user"] == [person.uid]
        assert arrived["remote-email"] == [person.mail]
        assert all("forged" not in values for values in arrived.values()), arrived
    arrived = headers_of(get(proxy, "/public/?json", forged))
    assert not any(name.startswith("remote-") and any(values) for name, values in arrived.items()), arrived
    # Without a login forged headers are no login.
    answer = get(proxy, "/page?json", forged)
    assert answer.status_code == proxy.unknown


def test_what_the_page_hears(proxied):
    proxy, service = proxied
    service.secrets.add(people.ADA.password)
    arrived = headers_of(get(proxy, "/page?json", basic("ada", people.ADA.password)))
    assert sorted(arrived["remote-groups"][0].split(",")) == ["admin", "auditor", "staff"]
    assert arrived["remote-id"][0] and "=" not in arrived["remote-id"][0]
    # A header that the service left out would be a placeholder's text with Caddy.
    assert not any("{" in value for values in arrived.values() for value in values), arrived


def test_a_directory_that_is_down_is_no_login_page(openldap, services, application, tmp_path, request):
    """503 of the service: no proxy makes a 401 or a page of it."""
    service = services(openldap)
    for name, start in proxies.PROXIES.items():
        proxy = start(tmp_path / name, service.port, application.port)
        request.addfinalizer(proxy.stop)
        assert get(proxy, "/page?json", basic("ada", people.ADA.password)).status_code == 200
        openldap.kill()
        answer = get(proxy, "/page?json", basic("ada", people.ADA.password))
        # nginx's auth_request knows 401 and 403; all else is 500.
        assert answer.status_code == (500 if name == "nginx" else 503), answer.text
        openldap.start_again()
        service.wait("/health/ready")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
def test_the_login_page_without_scripts(service, chromium, width, scheme):
    """Phone and desktop, dark and light: nothing wider than the window, labels, no script, and text that is legible."""
    options = {"viewport": {"width": width, "height": 740}, "color_scheme": scheme, "java_script_enabled": True}
    with page(chromium, **options) as tab:
        answer = tab.goto(service.url + "/login")
        assert answer.status == 200
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        for name in ("username", "password"):
            assert tab.evaluate(f"document.querySelector('input[name={name}]').labels.length") == 1
        assert tab.get_attribute("input[name=password]", "autocomplete") == "current-password"
        assert tab.get_attribute("input[name=username]", "autocomplete") == "username"
        assert tab.locator("html").get_attribute("lang")
        dark = tab.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) < 300"
        )
        assert dark == (scheme == "dark")
    with page(chromium, java_script_enabled=False) as tab:
        tab.goto(service.url + "/login")
        log_in(tab, "ada", people.ADA.password)
        assert tab.context.cookies()
    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "unsafe-inline" not in policy.split("script-src")[-1].split(";")[0]
    assert "no-store" in headers["cache-control"]


@pytest.mark.parametrize(
    "target", ["https://evil.example.test/", "//evil.example.test/", "/\\evil.example.test/", "javascript:alert(1)", "/\t/evil.example.test"]
)
def test_the_way_back_is_to_own_hosts_only(service, target):
    answer = service.form_login("ada", people.ADA.password, target)
    assert answer.status_code in (302, 303), answer.text
    location = answer.headers["location"]
    assert "evil" not in location and "javascript" not in location, location


def test_the_way_back_is_the_page_asked_for(service):
    answer = service.form_login("ada", people.ADA.password, "/page?a=1&b=2")
    assert answer.headers["location"].endswith("/page?a=1&b=2"), answer.headers


def test_a_form_that_is_not_the_pages_own(service, chromium):
    """Login by another site's form (CSRF) makes no session."""
    form = {"username": "ada", "password": people.ADA.password}
    answer = service.client.post("/login", data=form, headers={"Origin": "http://evil.example.test", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403, answer.text
    assert service.client.get("/api/v1/auth/me").status_code == 401
    service.form_login("ada", people.ADA.password)
    assert service.client.get("/api/v1/auth/me").status_code == 200
    service.client.post("/logout", headers={"Origin": "http://evil.example.test", "Sec-Fetch-Site": "cross-site"})
    assert service.client.get("/api/v1/auth/me").status_code == 200, "another site logged somebody out"
