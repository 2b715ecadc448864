"""Sentences with numbers in Chinese: the English sentence is matched whole against a template, its parts put into the
Chinese one. A sentence is wholly Chinese or stays wholly English: a part that has no translation leaves all as it is.

Fields by their first letter: ``q`` a quantity, ``o`` one identifier, ``i`` several, ``c`` options of the command line,
``w`` a word or an operation that has a translation, ``l`` a list of names with quantities, ``m`` a list of clauses that
have templates of their own, ``u`` units of a deployment.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dashboards.zh import CHINESE
from dashboards.zh_operations import OPERATIONS, PREFIXES, SUFFIXES
from dashboards.zh_sentences import TEMPLATES

_QUANTITY = (
    r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?(?: ?[%×x])?(?: (?:thousand|million|billion|trillion))?"
    r"(?: (?:GPU h|[A-Za-zµ][A-Za-zµ²]*(?:/[A-Za-z]+)?))?"
)
_PATTERNS = {
    "q": _QUANTITY,
    "i": r".+?",
    "w": r".+?",
    "c": r".+",
    "l": r".+",
    "m": r".+",
    "o": r"\S+",
    "u": r"\d[\d,]* × .+",
}
_FIELD = re.compile(r"\{(\w+)\}")
_ENTRY = re.compile(rf"(.+?) ({_QUANTITY}(?: \({_QUANTITY}\))?)(?:, |; |$)")
#: a changed assumption by the name of its option
_MOVED = re.compile(rf"[a-z\-]+ {_QUANTITY}")
_BRACKETS = re.compile(r" \((.+?)\)")
_SCALES = {" thousand": " 千", " million": " 百万", " billion": " 十亿", " trillion": " 万亿", " cards": " 卡"}
#: words of identifiers and units that Chinese texts write as they are
_PLAIN = re.compile(r"[^A-Za-z]*|.*[\d_=/·×-].*|[A-Z][A-Za-z]*[A-Z]\w*|[A-Z]+s?|ms|s|µs|h|d|min|token|tokens|x")


@lru_cache(maxsize=4096)
def chinese(text: str) -> str | None:
    """The Chinese of a text; None where there is none for all of it."""
    found = CHINESE.get(text) or operation(text)
    if found is not None:
        return found
    for pattern, target in _compiled():
        match = pattern.fullmatch(text)
        if match is None:
            continue
        parts = {name: _part(name, value) for name, value in match.groupdict().items()}
        if None not in parts.values():
            return target.format(**parts)
    return None


def operation(text: str) -> str | None:
    """The name of an operation: what it is of and what is done to it, each in Chinese; None where one is unknown."""
    if text in OPERATIONS:
        return OPERATIONS[text]
    for ending, words in SUFFIXES.items():
        if text.endswith(ending) and (rest := operation(text.removesuffix(ending))):
            return f"{rest}{words}"
    for beginning, words in PREFIXES.items():
        if text.startswith(beginning) and (rest := operation(text.removeprefix(beginning))):
            return f"{words}{rest}"
    return None


def plain(text: str) -> bool:
    """Whether a text has no word of English: numbers, units, identifiers."""
    return all(_PLAIN.fullmatch(word.strip("().,;:")) for word in text.split())


def _part(name: str, value: str) -> str | None:
    kind = name[0]
    if kind == "o":
        return value
    if kind == "c":
        return _options(value)
    if kind == "i":
        return value if plain(value) else None
    if kind == "m":
        items = value.split(next((sign for sign in ("; ", " and ") if sign in value), ", "))
        known = [chinese(item) or (item if _MOVED.fullmatch(item) else None) for item in items]
        return None if None in known else "；".join(item for item in known if item is not None)
    if kind == "u":
        return value.replace("prefill ", "预填充 ").replace("decode ", "解码 ")
    if kind == "q":
        for scale, words in _SCALES.items():
            value = value.replace(scale, words)
        return value if plain(value) else None  # a word that is no unit
    if kind == "l":
        return _entries(value)
    return value if kind == "w" and plain(value) else chinese(value)


def _options(text: str) -> str | None:
    """Options as they are; what is said in brackets behind one, in Chinese."""
    text = text.replace("--ep all ranks", "--ep 全部 rank")
    if text.startswith("overlap: "):
        return None  # a clause, not an option
    fixed, said = _BRACKETS.sub("\0", text).split("\0"), _BRACKETS.findall(text)
    known = [chinese(clause) for clause in said]
    if None in known:
        return None
    return "".join(f"{part}{clause}" for part, clause in zip(fixed, [*(f"（{k}）" for k in known), ""], strict=True))


def _entries(text: str) -> str | None:
    """``name quantity, name quantity``, each name in Chinese."""
    entries = _ENTRY.findall(text)
    names, sizes = [chinese(name) for name, _ in entries], [_part("q", size) for _, size in entries]
    if not entries or None in names or None in sizes or not re.fullmatch(rf"(?:{_ENTRY.pattern})+", text):
        return None
    return "，".join(f"{name} {size}" for name, size in zip(names, sizes, strict=True))


@lru_cache(maxsize=1)
def _compiled() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(_regex(english)), target) for english, target in TEMPLATES.items()]


def _regex(template: str) -> str:
    fixed, fields = _FIELD.sub("\0", template).split("\0"), _FIELD.findall(template)
    groups = [f"(?P<{name}>{_PATTERNS[name[0]]})" for name in fields]
    return "".join(f"{re.escape(text)}{group}" for text, group in zip(fixed, [*groups, ""], strict=True))
