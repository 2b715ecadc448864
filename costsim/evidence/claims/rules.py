"""Claims as data and the rules that judge them: ``hwprofiles/claims.toml`` holds words and thresholds, no results.

A claim has an ordered list of rules. A rule holds when all its tests hold; a test is ``[figure, comparison, number]``,
where ``figure.low`` and ``figure.high`` mean the ends of its band. The first rule that holds gives the verdict.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, field_validator

from costsim.errors import Malformed, UnknownName
from costsim.evidence.claims.figure import Figure, Figures
from costsim.frames import Framed, Rows
from costsim.spec.base import Frozen, build, read_toml
from costsim.spec.catalog import ROOT
from costsim.units import format_si

CLAIMS = ROOT / "hwprofiles" / "claims.toml"
Verdict = Literal["supported", "overstated", "understated", "conditional", "not computable"]
_TESTS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FIELD = re.compile(r"\{([a-z0-9_]+)(\.band)?\}")


class Rule(Frozen):
    """``when`` all these tests hold (none: always), the verdict is this one, under ``condition``."""

    verdict: Verdict
    when: tuple[tuple[str, str, float], ...] = ()
    condition: str = ""

    @field_validator("when")
    @classmethod
    def _known(cls, value: tuple[tuple[str, str, float], ...]) -> tuple[tuple[str, str, float], ...]:
        for _, sign, _ in value:
            if sign not in _TESTS:
                raise ValueError(f"{sign!r} is not one of {', '.join(_TESTS)}")
        return value

    def holds(self, figures: Figures) -> bool:
        return all(_TESTS[sign](_end(figures, name), bound) for name, sign, bound in self.when)

    def text(self) -> str:
        """The rule in words."""
        tests = " and ".join(f"{name} {sign} {bound:g}" for name, sign, bound in self.when)
        return f"{self.verdict} if {tests}" if tests else f"otherwise {self.verdict}"


class Claim(Frozen):
    """What somebody says, where, and how it is judged. Words in braces are replaced by figures, with ``.band`` by the
    ends of their bands; ``move`` are commands that move the claim's inputs."""

    id: str
    statement: str
    file: tuple[str, ...]
    main: str
    rules: tuple[Rule, ...] = Field(min_length=1)
    reasoning: str
    move: tuple[str, ...] = Field(min_length=1)
    move_note: str = ""
    source: tuple[str, ...] = ()
    data: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Judged(Framed):
    """A claim with its figures and the verdict that follows from them."""

    claim: Claim
    figures: Figures
    rule: Rule
    curves: Mapping[str, Any]

    def rows(self) -> Rows:
        """``verdict``, ``figures`` with bands and commands, and the points of each curve."""
        points = [
            {"curve": title, "series": name, "x": x, "y": y, "unit": curve["unit"]}
            for title, curve in self.curves.items() for name, values in curve["series"].items()
            for x, y in zip(curve["x"], values, strict=True)
        ]  # fmt: skip
        return {
            "verdict": [{"claim": self.claim.id, "verdict": self.verdict, "condition": self.condition}],
            "figures": [{"figure": name, **f.json(), "command": f.command} for name, f in self.figures.items()],
            "curves": points,
        }

    @property
    def verdict(self) -> str:
        return self.rule.verdict

    @property
    def condition(self) -> str:
        return filled(self.rule.condition, self.figures)

    @property
    def reasoning(self) -> str:
        return filled(self.claim.reasoning, self.figures)

    @property
    def main(self) -> Figure:
        return self.figures[self.claim.main]

    def commands(self) -> list[str]:
        """Every command behind the figures, once."""
        return list(dict.fromkeys(figure.command for figure in self.figures.values() if figure.command))

    def json(self) -> dict[str, Any]:
        where = {name: {"command": figure.command, "path": figure.path}
                 for name, figure in self.figures.items() if figure.command}  # fmt: skip
        return {
            "id": self.claim.id, "statement": self.claim.statement, "file": list(self.claim.file),
            "computed": {name: figure.json() for name, figure in self.figures.items()},
            "main": self.claim.main, "verdict": self.verdict, "condition": self.condition,
            "reasoning": self.reasoning, "rules": [rule.text() for rule in self.claim.rules],
            "scenario": {"move": list(self.claim.move), "note": self.claim.move_note, "commands": self.commands(),
                         "figures": where},
            "sources": list(self.claim.source),
        }  # fmt: skip


@lru_cache(maxsize=1)
def load_claims() -> dict[str, Claim]:
    """Every claim by id, in the order of the file."""
    table = read_toml(CLAIMS, "claims")
    return {name: build(Claim, {"id": name, **entry}, f"{CLAIMS.name}: {name}") for name, entry in table.items()}


def claim(name: str) -> Claim:
    """A claim by id; UnknownName with the nearest ones."""
    known = load_claims()
    if name not in known:
        raise UnknownName("claim", name, list(known))
    return known[name]


def _end(figures: Figures, name: str) -> float:
    base, _, end = name.partition(".")
    if base not in figures or end not in ("", "low", "high"):
        raise UnknownName("figure of claims", name, figures)
    figure = figures[base]
    found = getattr(figure, end) if end else figure.value
    return figure.value if found is None else float(found)


def verdict_of(claim: Claim, figures: Figures) -> Rule:
    """The first rule that holds; BadInput where the data leave a gap."""
    for rule in claim.rules:
        if rule.holds(figures):
            return rule
    raise Malformed(f"claims: {claim.id}: no rule holds; end the list with one without tests")


def filled(template: str, figures: Figures) -> str:
    """The template with every ``{figure}`` as text, ``{figure.band}`` as the ends of its band."""
    return _FIELD.sub(lambda match: (band if match[2] else shown)(figures[match[1]]), template)


def band(figure: Figure) -> str:
    """``1.1 to 1.4x``: the ends of a band in words, the value itself where it has none."""
    if figure.low is None or figure.high is None:
        return shown(figure)
    low, high = (shown(Figure(end, figure.unit)) for end in (figure.low, figure.high))
    unit = next((u for u in (f" {figure.unit}", figure.unit) if u and low.endswith(u) and high.endswith(u)), "")
    return f"{low.removesuffix(unit)} to {high}"


def shown(figure: Figure) -> str:
    """A figure in words: ``93.3%``, ``5.38M USD``, ``51.6 ms``."""
    value, unit = figure.value, figure.unit
    if unit == "share":
        return f"{value:.1%}" if value == 0 or abs(value) >= 0.001 else f"{100 * value:.2g}%"
    if unit == "s":
        return format_si(value, "s", 3) if value < 1000 else f"{value:,.0f} s"
    if unit == "yyyymmdd":
        return f"{value:.0f}"[:4] + "-" + f"{value:.0f}"[4:6] + "-" + f"{value:.0f}"[6:]
    if unit == "x" and 1.0 <= value < 10.0:
        return f"{value:.2f}x"
    if unit == "%":
        return f"{value:g}%"
    if unit == "B":
        return format_si(value, "B", 3)
    suffix = f" {unit}" if unit not in ("", "x", "ratio") else ("x" if unit == "x" else "")
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}{suffix}"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text + suffix
