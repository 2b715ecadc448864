"""Claims: what is said in public about DeepSeek, each computed and judged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import streamlit as st

from costsim.spec.base import read_toml
from costsim.spec.catalog import ROOT
from dashboards import show
from dashboards.controls import Control
from dashboards.page import Page, Question, Screen
from dashboards.run import Seen
from dashboards.words import safe, tr

ALL = "all claims"


@lru_cache(maxsize=1)
def statements() -> dict[str, str]:
    """Id → what is said, of every claim that is judged."""
    claims = read_toml(ROOT.joinpath("hwprofiles", "claims.toml"), "claims")
    return {str(name): str(claim["statement"]) for name, claim in claims.items() if isinstance(claim, Mapping)}


def subject(values: dict[str, Any]) -> list[str]:
    """One id, or none for all."""
    chosen = str(values.get("claim") or ALL)
    return [] if chosen == ALL else [chosen]


def folded(seen: Seen) -> None:
    """The table of verdicts, then every claim under a fold that says it; one claim alone stands open."""
    first, *rest = seen.document.sections
    show.section(first, "claims.0")
    said = statements()
    for number, part in enumerate(rest, start=1):
        name, _, verdict = part.heading.partition(": ")
        with st.expander(f"**{safe(name)}** · {safe(tr(verdict))} · {safe(said.get(name, ''))}"):
            show.section(part, f"claims.{number}", (part.heading,))


PAGE = Page(
    id="claims", title="Claims", icon=":material/gavel:", group="Evidence", order=130,
    lead="Public statements about DeepSeek's costs: each computed and judged, with the condition under which it holds.",
    question=Question(
        verb="claims", subject=subject, long=True,
        controls=(Control("claim", "c", "word", "Claim", ALL, lambda: (ALL, *statements())),),
    ),
    screen=Screen(
        above=folded, skip=("*",),
    ),
)  # fmt: skip
