"""Bibliography: hwprofiles/references.bib as a page, and `[key, sec. 3]` in text as a link to its entry."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).resolve().parents[2] / "hwprofiles" / "references.bib"
_ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}", re.S | re.M)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*?)\},?\s*$", re.S | re.M)
_CITED = re.compile(r"\[([a-z0-9][\w.-]*(?:[,;] [^\[\]\n]{1,120})?)\](?![(\[:])")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.S | re.M)


@lru_cache(maxsize=1)
def entries() -> dict[str, dict[str, str]]:
    """key -> fields of its entry, braces gone."""
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    found = {}
    for _, key, body in _ENTRY.findall(text):
        found[key] = {name.lower(): re.sub(r"[{}]|\s+", _plain, value).strip() for name, value in _FIELD.findall(body)}
    return found


def _plain(found: re.Match[str]) -> str:
    return " " if found[0].isspace() else ""


def keys() -> frozenset[str]:
    return frozenset(entries())


def linked(markdown: str, page: str, known: frozenset[str]) -> str:
    """``[key]`` and ``[key, eq. 3; other]`` outside code as links; brackets without a known key stay as they are."""

    def cite(found: re.Match[str]) -> str:
        parts = [part.strip() for part in found[1].split(";")]
        heads = [part.split(",")[0].strip() for part in parts]
        if heads[0] not in known:
            return found[0]
        shown = [f"[{part}]({page}#{head})" if head in known else part for part, head in zip(parts, heads, strict=True)]
        return "\\[" + "; ".join(shown) + "\\]"

    pieces = _CODE.split(markdown)
    return "".join(piece if at % 2 else _CITED.sub(cite, piece) for at, piece in enumerate(pieces))


def pages() -> list[tuple[str, str, str]]:
    told = (
        f"The {len(entries())} sources behind figures and equations, by key. Every `source` in `hwprofiles/` and every "
    )
    lines = ["# Bibliography", "", told + "key in a docstring is one of these; a test checks it.", ""]
    for key, fields in sorted(entries().items()):
        lines += [f"## {key} {{#{key}}}", "", _reference(fields), ""]
    return [("", "reference/bibliography.md", "\n".join(lines))]


def _reference(fields: dict[str, str]) -> str:
    where = fields.get("booktitle") or fields.get("journal") or fields.get("howpublished") or ""
    parts = [fields.get("author", ""), fields.get("title", ""), where, fields.get("year", "")]
    text = ". ".join(_escaped(part) for part in parts if part) + "."
    if url := fields.get("url"):
        text += f" <{url}>" if url.startswith("http") else f" {_escaped(url)}"
    return text + (f"\n\n{_escaped(fields['note'])}" if fields.get("note") else "")


def _escaped(text: str) -> str:
    return re.sub(r"([*_<>\[\]`])", r"\\\1", text.replace("\\&", "&").replace("--", "–"))
