"""Hooks of mkdocs.yml: pages from outside docs/, links between files as links between pages, the repository's URL.

Links are rewritten in the parsed page, never in its text: code blocks and inline code stay as they are.
Every link must name an existing file. `mkdocs build --strict` fails on a warning.
"""

import logging
import os
import pathlib
import posixpath
import tomllib
from urllib.parse import urlsplit

from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
# File in the repository: page of the site. All of docs/ are pages as they are.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "ldap-directory/README.md": "ldap-directory.md",
    "dbt/README.md": "dbt.md",
    "docs/decisions": "decisions/index.md",
}
# Files whose links lead to a page that is not made of them: the site has a start page of its own.
STANDS_FOR = {"README.md": "index.md"}
SOURCES = {page: source for source, page in PAGES.items()}
log = logging.getLogger("mkdocs.hooks.site_pages")


def on_startup(command, dirty):
    """Drops the messages below WARNING. `--quiet` would drop the warnings, too, which `--strict` counts."""
    if command == "build":
        logging.getLogger("mkdocs").setLevel(logging.WARNING)


def on_config(config):
    config.markdown_extensions.append(LinkExtension())
    config.repo_url = repository()
    if config.repo_url:
        config.repo_name = urlsplit(config.repo_url).path.strip("/")
    return config


def repository():
    """Returns the URL of the repository: REPOSITORY_URL, or `repository` in Cargo.toml; None while that is a placeholder (`.invalid`)."""
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"].get("package", {})
    url = os.environ.get("REPOSITORY_URL") or package.get("repository", "")
    host = urlsplit(url).hostname
    return url.removesuffix(".git") if host and not host.endswith(".invalid") else None


def on_files(files, config):
    for source, page in PAGES.items():
        text = decisions() if (ROOT / source).is_dir() else (ROOT / source).read_text()
        files.append(File.generated(config, page, content=text))
    return files


def decisions():
    """Returns a page that lists the decisions."""
    lines = ["# Decisions", "", "Each page is one decision, with its reasons and the alternatives.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        lines.append(f"- [{path.read_text().splitlines()[0].lstrip('# ')}]({path.name})")
    return "\n".join(lines) + "\n"


def on_page_markdown(markdown, page, config, files):
    LinkRewriter.page = page.file.src_uri


class LinkExtension(Extension):
    """Rewrites a page after it is parsed, and before mkdocs checks its links."""

    def extendMarkdown(self, md):
        # After inline patterns (20) and the table of contents (5), before mkdocs' own treeprocessor (0).
        md.treeprocessors.register(LinkRewriter(md), "repository_links", 1)


class LinkRewriter(Treeprocessor):
    # The page that is parsed now; mkdocs does not pass it to extensions.
    page = ""

    def run(self, root):
        for element in root.iter():
            attribute = {"a": "href", "img": "src"}.get(element.tag)
            if attribute and element.get(attribute):
                self.rewrite(element, attribute)
        # In a table `\|` is a bar also in code (GFM section 4.10); this parser keeps the backslash there.
        for cell in (element for element in root.iter() if element.tag in ("td", "th")):
            for code in cell.iter("code"):
                code.text = AtomicString((code.text or "").replace("\\|", "|"))

    def rewrite(self, element, attribute):
        url = urlsplit(element.get(attribute))
        if url.scheme or url.netloc or not url.path:
            return
        source = SOURCES.get(self.page, f"docs/{self.page}")
        folder = source if (ROOT / source).is_dir() else posixpath.dirname(source)
        target = posixpath.normpath(posixpath.join(folder, url.path))
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which does not exist", self.page, url.path)
            return self.unlink(element, attribute)
        to = PAGES.get(target) or STANDS_FOR.get(target)
        if not to and target.startswith("docs/"):
            to = target.removeprefix("docs/")
        if to:
            path = posixpath.relpath(to, posixpath.dirname(self.page) or ".")
            element.set(attribute, url._replace(path=path).geturl())
        elif home := repository():
            element.set(attribute, f"{home}/blob/HEAD/{target}")
        else:
            self.unlink(element, attribute)

    @staticmethod
    def unlink(element, attribute):
        """Keeps the text of a link without a target."""
        element.tag = "span"
        del element.attrib[attribute]
