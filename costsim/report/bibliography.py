"""The sources of a report: entries of ``hwprofiles/references.bib``, numbered in the order in which they are named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from costsim.spec.base import read_text
from costsim.spec.catalog import ROOT

REFERENCES = ROOT / "hwprofiles" / "references.bib"
_START = re.compile(r"^@(\w+)\{([^,\s]+),", flags=re.MULTILINE)
_FIELD = re.compile(r"(\w+)\s*=\s*\{")
_ACCENT = re.compile(r"\\[\"'`^~=.]\{?(\w)\}?")
_ARXIV = "https://arxiv.org/abs/"


@dataclass(frozen=True)
class Source:
    """One entry: who, what, where, when; ``url`` only where it is http or https."""

    key: str
    author: str
    title: str
    venue: str
    year: str
    url: str

    def text(self) -> str:
        """``Zhao, Chenggang and others: Insights into DeepSeek-V3. ISCA, 2025.``"""
        head = f"{self.author}: {self.title}" if self.author else self.title or self.key
        tail = ", ".join(part for part in (self.venue, self.year) if part)
        return f"{head.rstrip('.')}. {tail}." if tail else f"{head.rstrip('.')}."


@lru_cache(maxsize=1)
def sources() -> dict[str, Source]:
    """Every entry by its key."""
    text = read_text(REFERENCES, "bibliography")
    starts = list(_START.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return {
        match[2]: _source(match[2], dict(_fields(text[match.end() : end])))
        for match, end in zip(starts, ends, strict=True)
    }


def _fields(body: str) -> Iterator[tuple[str, str]]:
    """``name = {value}`` pairs; braces nest."""
    at = 0
    while match := _FIELD.search(body, at):
        depth, end = 1, match.end()
        while depth and end < len(body):
            depth += {"{": 1, "}": -1}.get(body[end], 0)
            end += 1
        yield match[1].lower(), _plain(body[match.end() : end - 1])
        at = end


def _plain(text: str) -> str:
    """Text without TeX's braces and escapes."""
    text = _ACCENT.sub(r"\1", text).replace("{", "").replace("}", "").replace("--", "–")
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())


def _source(key: str, fields: dict[str, str]) -> Source:
    venue = fields.get("journal") or fields.get("booktitle") or fields.get("howpublished") or ""
    url = fields.get("url", "")
    if not url and fields.get("eprint"):
        url = f"{_ARXIV}{fields['eprint']}"
    if not url and fields.get("doi"):
        url = f"https://doi.org/{fields['doi']}"
    url = url if re.fullmatch(r"https?://[^\s<>\"']+", url) else ""
    authors = fields.get("author", "").replace(" and others", " et al.").replace(" and ", "; ")
    return Source(key, authors, fields.get("title", ""), venue, fields.get("year", ""), url)


def named_in(text: str) -> list[str]:
    """Keys of the entries whose address or arXiv number stands in a text."""
    told = text.lower().replace("http://", "https://")
    found = []
    for key, source in sources().items():
        address = source.url.lower().rstrip("/")
        arxiv = address.removeprefix(_ARXIV) if address.startswith(_ARXIV) else ""
        if address and (re.search(re.escape(address) + r"(?![\w-])", told) or (arxiv and arxiv in told)):
            found.append(key)
    return found


class Numbers:
    """Gives each key its number as it is first named; keys that no entry has stay words."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._known = sources()
        self.order: list[str] = []
        for key in keys:
            self.of(key)

    def of(self, key: str) -> int | None:
        """The number of a source, None where the bibliography does not have it."""
        if key not in self._known:
            return None
        if key not in self.order:
            self.order.append(key)
        return self.order.index(key) + 1

    def entries(self) -> list[Source]:
        """The sources that were named, in the order of their numbers."""
        return [self._known[key] for key in self.order]
