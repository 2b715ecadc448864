"""The bibliography as readers want it: title and address of a citation key."""

from __future__ import annotations

import re
from functools import lru_cache

from costsim.spec.catalog import ROOT

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?\s*$", re.MULTILINE)


@lru_cache(maxsize=1)
def _works() -> dict[str, tuple[str, str]]:
    text = ROOT.joinpath("hwprofiles", "references.bib").read_text(encoding="utf-8")
    works = {}
    for key, body in _ENTRY.findall(text):
        fields = dict(_FIELD.findall(body))
        title = re.sub(r"[{}]", "", fields.get("title", ""))
        works[key] = (title, fields.get("url", fields.get("howpublished", "")))
    return works


def work(key: str) -> tuple[str, str]:
    """Title and web address, both empty where the key is of no entry; only http addresses are passed on."""
    title, address = _works().get(key, ("", ""))
    plain = re.fullmatch(r"https?://[^\s()<>\"']+", address) is not None
    return title, address if plain else ""
