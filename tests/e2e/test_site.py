"""The documentation as a site: what is wrong fails the build, code blocks stay as they are, and nothing is loaded from elsewhere."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from conftest import ROOT, venv

PAGE = "docs/reference/exit-codes.md"
REPOSITORY = "https://git.example/owner/singer-ldap"


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository, without what is built."""
    folder = tmp_path / "copy"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns("target", ".git", "__pycache__"), symlinks=True)
    return folder


def build(folder, **environment):
    """Builds the site as `make site` does. Returns its folder, the exit code and what was said."""
    site = folder / "target" / "site"
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^\t.*/bin/mkdocs\" (build .*?) --site-dir", makefile, re.M)[1]
    env = {k: v for k, v in os.environ.items() if k != "REPOSITORY_URL"}
    env |= {"NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"} | environment
    done = subprocess.run(
        [venv("site", "mkdocs"), *command.split(), "--site-dir", site], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    return site, done.returncode, done.stdout + done.stderr


def append(folder, text, page=PAGE):
    with open(folder / page, "a") as file:
        file.write(f"\n{text}\n")


def test_the_site_builds_without_a_word(copy):
    site, code, said = build(copy)
    assert (code, said) == (0, "")
    assert (site / "index.html").exists() and (site / "decisions" / "index.html").exists()


def no_navigation(folder):
    (folder / "docs" / "reference" / "forgotten.md").write_text("# Forgotten\n")


def no_page(folder):
    (folder / PAGE).unlink()


# How the copy is broken, and what the message names.
BREAKS = {
    "a link to no page": (lambda f: append(f, "[x](nothing.md)"), "nothing.md"),
    "a link to no file of the repository": (lambda f: append(f, "[x](../../tests/nothing.rs)"), "tests/nothing.rs"),
    "a link in a page from outside docs": (lambda f: append(f, "[x](docs/nothing.md)", "ARCHITECTURE.md"), "docs/nothing.md"),
    "a link by reference": (lambda f: append(f, "[x][y]\n\n[y]: nothing.md"), "nothing.md"),
    "a link to no anchor": (lambda f: append(f, "[x](state.md#nothing)"), "#nothing"),
    "a link to no anchor of the page": (lambda f: append(f, "[x](#nothing)"), "#nothing"),
    "a link to an anchor of the README": (lambda f: append(f, "[x](../../README.md#sync)"), "#sync"),
    "an image that does not exist": (lambda f: append(f, "![x](nothing.png)"), "nothing.png"),
    "a page in no navigation": (no_navigation, "reference/forgotten.md"),
    "a page of the navigation that does not exist": (no_page, "reference/exit-codes.md"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_build_fails(copy, name):
    damage, named = BREAKS[name]
    damage(copy)
    _, code, said = build(copy)
    assert code == 1 and named in said, said


CODE = """
```yaml title="m.yml"
names: [uid, cn]
pip_url: [a](state.md) [b](../../tests/nothing.rs)
last: [x]
```

| a table |
|---|
| `{a\\|b}` [g] |

Inline `[c](nothing.md)` and `[d]`, a [file](../../Makefile), a [page](../../ARCHITECTURE.md).

    indented [e](nothing.md) [f]
"""


def test_code_blocks_stay_as_they_are(copy):
    append(copy, CODE)
    site, code, said = build(copy)
    assert (code, said) == (0, "")
    html = (site / "reference" / "exit-codes" / "index.html").read_text()
    text = re.sub(r"<[^>]*>", "", html)
    for kept in (
        "names: [uid, cn]\npip_url: [a](state.md) [b](../../tests/nothing.rs)\nlast: [x]\n",
        "[c](nothing.md) and [d], a file, a page.",
        "{a|b} [g]",
        "indented [e](nothing.md) [f]",
    ):
        assert kept in text, kept
    assert '<a href="../../architecture/">page</a>' in html
    # Without a URL of the repository there is nothing to link to.
    assert "<span>file</span>" in html and "md-source" not in html


def test_links_lead_to_the_repository(copy):
    append(copy, CODE)
    site, code, said = build(copy, REPOSITORY_URL=REPOSITORY)
    assert (code, said) == (0, "")
    html = (site / "reference" / "exit-codes" / "index.html").read_text()
    assert f'<a href="{REPOSITORY}/blob/HEAD/Makefile">file</a>' in html
    assert f'href="{REPOSITORY}" title=' in html and "owner/singer-ldap" in html
    # The theme's script would ask the repository's host for its stars.
    assert 'data-md-component="source"' not in html


class Loaded(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "link" and attributes.get("rel") in ("canonical", "next", "prev"):
            return
        names = ("href",) if tag in ("link", "base") else ("src", "srcset", "data", "poster", "action") if tag != "a" else ()
        self.found += [attributes[name] for name in names if attributes.get(name)]


def test_nothing_is_loaded_from_elsewhere(copy):
    site, code, said = build(copy, REPOSITORY_URL=REPOSITORY)
    assert (code, said) == (0, "")
    pages = 0
    for path in site.rglob("*.html"):
        page = Loaded()
        page.feed(path.read_text())
        assert page.found, path
        outside = [url for url in page.found if re.match(r"[a-z]+:|//", url) and not url.startswith("data:")]
        assert not outside, (path, outside)
        # The theme loads a library for diagrams from elsewhere.
        assert 'class="mermaid"' not in path.read_text(), path
        pages += 1
    assert pages > 30
    for path in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text()), path
