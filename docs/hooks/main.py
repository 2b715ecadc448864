"""mkdocs hook: the reference pages, generated from the code at every build, and what Markdown lacks: math, citations.

Nothing generated is kept in the repository, so nothing can go stale. The build needs no network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # the `mkdocs` script starts without the working directory on its path
    sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File  # noqa: E402

from docs.hooks import catalogs, citations, errors, mathml, modules, verbs  # noqa: E402

#: section of the navigation -> the generator of its pages: [(title, path, Markdown)]
SECTIONS = {
    "Command line": verbs.pages,
    "Python": modules.pages,
    "Catalogs": catalogs.pages,
    "Errors": errors.pages,
}
#: pages that are there only when their file is: other parts of the project write them
OPTIONAL = (("Hardening", "hardening.md"), ("Security", "security.md"))
#: files of the repository's root that the site shows too
FROM_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
_ACCURACY = re.compile(r"<!-- accuracy -->.*?<!-- /accuracy -->", re.S)


def generated() -> dict[str, list[tuple[str, str, str]]]:
    """Every generated page by section of the navigation."""
    sections = {name: make() for name, make in SECTIONS.items()}
    sections["Bibliography"] = citations.pages()
    for path, source in FROM_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        sections[path.removesuffix(".md").capitalize()] = [("", path, text)]
    return sections


def on_config(config: Any) -> Any:
    """Generate, and put the pages into the navigation."""
    sections = generated()
    config.extra["generated"] = sections
    entries: list[Any] = []
    for name, pages in sections.items():
        entries.append({name: pages[0][1] if len(pages) == 1 else [{title: path} for title, path, _ in pages]})
    for name, path in OPTIONAL:
        if (ROOT / "docs" / path).is_file() and not _holds(config.nav, path):
            entries.append({name: path})
    for section in config.nav:
        if "Reference" in section:
            section["Reference"] = entries
    return config


def _holds(nav: Any, path: str) -> bool:
    if isinstance(nav, dict):
        return any(_holds(part, path) for part in nav.values())
    return any(_holds(part, path) for part in nav) if isinstance(nav, list) else nav == path


def on_files(files: Any, config: Any) -> Any:
    for pages in config.extra["generated"].values():
        for _, path, text in pages:
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """README's measured tables where a page asks for them, then citations and math, outside code."""
    path = page.file.src_uri
    if "<!-- accuracy -->" in markdown:
        found = _ACCURACY.search((ROOT / "README.md").read_text(encoding="utf-8"))
        markdown = markdown.replace("<!-- accuracy -->", found[0] if found else "")
    up = "../" * path.count("/")
    if path in FROM_ROOT:
        markdown = re.sub(r"\]\(docs/([\w./-]+)\)", r"](\1)", markdown)
    return mathml.rendered(citations.linked(markdown, f"{up}reference/bibliography.md", citations.keys()))
