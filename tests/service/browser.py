"""Debian's Chromium, headless, driven by Playwright. It looks for nothing outside."""

import contextlib
import shutil

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
]


@contextlib.contextmanager
def browser():
    """A running browser."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: scripts/install-servers.sh"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS, headless=True)
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def page(running, **options):
    """A page of its own session, whose JavaScript errors, console errors and requests to elsewhere are in `page.problems`."""
    context = running.new_context(**options)
    opened = context.new_page()
    opened.problems = []
    opened.on("pageerror", lambda error: opened.problems.append(f"script: {error}"))
    opened.on("request", lambda r: r.url.startswith(("http://127.0.0.1", "data:")) or opened.problems.append(f"elsewhere: {r.url}"))

    def said(message):
        # The browser itself reports each answer of 4xx, which a test may want.
        if message.type == "error" and "Failed to load resource" not in message.text:
            opened.problems.append(f"console: {message.text}")

    opened.on("console", said)
    try:
        yield opened
        assert not opened.problems, opened.problems
    finally:
        context.close()


def log_in(opened, username, password):
    """Fills in the login form and sends it."""
    opened.fill("input[name=username]", username)
    opened.fill("input[name=password]", password)
    opened.click("form:has(input[name=password]) [type=submit]")
