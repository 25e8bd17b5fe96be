"""For mkdocs.yml: makes pages of README.md and its like, and links between files links between pages.

What a link names has to be there, whether it is a page or not: `mkdocs build --strict` fails on a warning.
"""

import logging
import os
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
# File in the repository: page of the site. All of docs/ are pages as they are.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "ldap-directory/README.md": "ldap-directory.md",
    "dbt/README.md": "dbt.md",
    "docs/decisions": "decisions/index.md",
}
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
log = logging.getLogger("mkdocs.hooks.site_pages")


def on_files(files, config):
    for source, page in PAGES.items():
        text = decisions() if (ROOT / source).is_dir() else (ROOT / source).read_text()
        files.append(File.generated(config, page, content=text))
    return files


def decisions():
    """A page that lists the decisions."""
    lines = ["# Decisions", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        lines.append(f"- [{path.read_text().splitlines()[0].lstrip('# ')}]({path.name})")
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    sources = {page: source for source, page in PAGES.items()}
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))
    if here == PAGES["docs/decisions"]:
        folder = "docs/decisions"

    def rewritten(match):
        target, anchor = posixpath.normpath(posixpath.join(folder, match[1])), match[2] or ""
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not there", here, match[1])
        to = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        # A file that is no page: there is nothing to link to.
        return f"]({os.path.relpath(to, posixpath.dirname(here) or '.')}{anchor})" if to else "]"

    return re.sub(r"\[([^\]]*)\]$", r"\1", LINK.sub(rewritten, markdown), flags=re.M)
