"""The pages there are: every module of ``views/`` whose verb and options this installation has."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache, partial
from typing import Any

import streamlit as st

from costsim.errors import BadInput
from dashboards import state, uploads, views
from dashboards.answers import has_option
from dashboards.page import Page
from dashboards.words import tr

GROUPS = ("Answers", "Evidence")


@lru_cache(maxsize=1)
def all_pages() -> dict[str, Page]:
    """Id → page, in the order of the navigation."""
    found = []
    for entry in pkgutil.iter_modules(views.__path__):
        page = importlib.import_module(f"{views.__name__}.{entry.name}").PAGE
        if all(has_option(page.question.verb, option) for option in ("--json", *page.question.needs)):
            found.append(page)
    found.sort(key=lambda page: page.order)
    return {page.id: page for page in found}


def navigation() -> dict[str, dict[str, Any]]:
    """Group → page id → what Streamlit navigates to. The first page is the home of the address."""
    groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
    known: dict[str, Any] = {}
    for number, page in enumerate(all_pages().values()):
        entry = st.Page(
            partial(_run, page.id), title=tr(page.title), icon=page.icon, url_path=page.id, default=number == 0
        )
        groups[page.group][page.id] = known[page.id] = entry
    st.session_state["navigation"] = known
    return {name: of for name, of in groups.items() if of}


def streamlit_page(page: Page) -> Any:
    """What ``st.switch_page`` and ``st.page_link`` take."""
    return st.session_state["navigation"][page.id]


def _run(name: str) -> None:
    from dashboards.answers import Defect
    from dashboards.run import run
    from dashboards.show import refusal

    try:
        run(all_pages()[name])
    except Exception as error:  # whatever went wrong, the visitor sees one line and the rest of the dashboard
        refusal(Defect(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))


def take_file(data: bytes) -> Page:
    """The page that a TOML file asks for; a scenario of `costsim report` opens the report. BadInput for other files."""
    from costsim.spec.base import build
    from costsim.spec.scenario import Scenario

    table = uploads.table_of(data)
    if "page" in table:
        return state.from_toml(table, all_pages())
    scenario = build(Scenario, table, "scenario")
    if "report" not in all_pages():
        raise BadInput("this dashboard has no report page; use `costsim report FILE`")
    page = all_pages()["report"]
    state.later(page, _report_values(scenario, table))
    return page


def _report_values(scenario: Any, table: dict[str, Any]) -> dict[str, Any]:
    """A scenario's parts as the values of the report page; its quantities in the words of the file."""
    values: dict[str, Any] = {"title": scenario.title, "model": scenario.model.id}
    values |= {"accelerator": scenario.cluster.accelerator, "compare": list(scenario.cluster.compare)}
    values |= {name: getattr(scenario.plan, name) for name in ("precision", "routing", "max_gpus")}
    values |= {"isl": scenario.workload.isl, "context": scenario.workload.context}
    values |= {"tpot": str(table.get("workload", {}).get("tpot", "100 ms")), "rate": scenario.price.rate}
    train = scenario.training
    values |= {"gpus": train.gpus, "pp": train.pp, "ep": train.ep, "seq": train.seq}
    return values | {"global_batch": train.global_batch, "tokens": train.tokens}


def options(controls: Any, values: dict[str, Any]) -> list[str]:
    """Values that every mode has, as options of a verb."""
    from dashboards.controls import options_of

    return options_of(controls, values, "", uploads.spelled)
