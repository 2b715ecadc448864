"""What a page asks, as a value: in the URL, in the session, in a TOML file; checked again wherever it comes from.

A link holds short keys for whatever differs from the defaults and the version of this scheme. What is not valid is
replaced by the default and said, never passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from costsim.errors import BadInput
from costsim.version import __version__
from dashboards import uploads
from dashboards.controls import Control, url_text
from dashboards.page import Page
from dashboards.words import safe, tr

#: of the keys in links; a link of a later scheme is read as far as it is understood
VERSION = "1"
#: keys of links that belong to the whole dashboard
SHARED = ("v", "lang", "view", "chip")
_LONGEST = 400
#: addresses of a page that a session remembers
_ADDRESSES = 40

Values = dict[str, Any]


def key(page: Page, mode: str, name: str) -> str:
    """Of a widget. Each mode has widgets of its own: another question, other defaults."""
    return f"{page.id}/{name}" if name == page.question.mode else f"{page.id}/{mode}/{name}"


def checked(page: Page, given: Mapping[str, Any], by_short: bool) -> tuple[Values, list[str]]:
    """Every value of a page from what a link or a file says, and what had to be changed."""
    notices: list[str] = []
    names = {(control.short if by_short else control.name): control for control in page.question.controls}
    mode_control = next((control for control in page.question.controls if control.name == page.question.mode), None)
    mode = page.question.default_mode
    if mode_control is not None:
        label = mode_control.short if by_short else mode_control.name
        mode = str(_one(mode_control, given.get(label, mode), mode, label, notices))
    values = page.question.defaults(mode)
    for name, value in given.items():
        control = names.get(name)
        if control is None or not control.shown(mode):
            if name not in SHARED:
                notices.append(tr("{0}: not a setting of this page; ignored").format(_quoted(name)))
        elif control is not mode_control:
            values[control.name] = _one(control, value, mode, name, notices)
    return values, notices


def _one(control: Control, value: Any, mode: str, name: str, notices: list[str]) -> Any:
    default = control.at(mode) if control.modes or isinstance(control.default, Mapping) else control.default
    if isinstance(value, str) and len(value) > _LONGEST:
        notices.append(tr("{0}: too long; {1} is used").format(_quoted(name), _quoted(_text(default))))
        return default
    try:
        found = control.checked(value)
        if found is None and default is not None and control.kind in ("whole", "real", "word"):
            raise ValueError("this setting cannot be empty")
        return found
    except ValueError:
        said = tr("{0}: {1} is not valid here; {2} is used")
        notices.append(said.format(_quoted(name), _quoted(_text(value)), _quoted(_text(default))))
        return default


def _text(value: Any) -> str:
    return tr("the default") if value is None else url_text(value)[:60]


def _quoted(text: str) -> str:
    return f"“{safe(str(text)[:60])}”"


def restore(page: Page) -> list[str]:
    """Put the page's values where its widgets find them: from the link, else from this session, else the defaults."""
    store = st.session_state
    given = {name: value for name, value in st.query_params.to_dict().items() if name != "lang"}
    notices = _chips(given.pop("chip", ""))
    pending = store.pop(f"{page.id}!", None)
    if pending is not None:
        values, found = pending
        notices = [*notices, *found]
        seed(page, values, force=True)
    elif not set(given) <= {"view"} and given != store.get(f"{page.id}?") and not _late(page, given):
        if given.get("v", VERSION) != VERSION:
            notices.append(tr("this link was made by another version; what is understood of it is used"))
        values, found = checked(page, given, by_short=True)
        notices = [*notices, *found]
        seed(page, values, force=True)
    elif went_back() and f"{page.id}?" in store and set(given) <= {"view"}:
        seed(page, page.question.defaults(page.question.default_mode), force=True)
    else:
        seed(page, store.get(f"{page.id}=", page.question.defaults(page.question.default_mode)), force=False)
    _remember(page, given)
    store["page shown"] = page.id
    if given.get("view"):
        store.setdefault(f"{page.id}/view from link", given["view"])
    return notices


def went_back() -> bool:
    """Whether the browser's Back or Forward asked for this run."""
    context = get_script_run_ctx()
    return bool(context is not None and getattr(context, "is_history_navigation", False))


def _late(page: Page, given: Mapping[str, Any]) -> bool:
    """Whether an address is one that this page has had: a browser that is behind sends it along with what its reader
    has changed since, and so does a run that a job's progress asked for. Only Back and Forward mean it.
    """
    seen = st.session_state.get(f"{page.id}??", ())
    return st.session_state.get("page shown") == page.id and dict(given) in seen and not went_back()


def _remember(page: Page, given: Mapping[str, Any]) -> None:
    seen: list[dict[str, Any]] = st.session_state.setdefault(f"{page.id}??", [])
    if dict(given) not in seen:
        seen.append(dict(given))
        del seen[:-_ADDRESSES]


def _chips(text: str) -> list[str]:
    """Take the chips of a link into this session, once; what is wrong with them is said."""
    if not text or text == st.session_state.get("chips of link"):
        return []
    st.session_state["chips of link"] = text
    try:
        uploads.unpack(text)
    except BadInput as error:
        return [safe(str(error))]
    return []


def seed(page: Page, values: Values, force: bool) -> None:
    """Give the widgets their values; without ``force`` only those that have none."""
    mode = page.question.mode_of(values)
    for control in page.question.controls:
        name = key(page, mode, control.name)
        if control.shown(mode) and (force or name not in st.session_state):
            st.session_state[name] = st.session_state[f"{name}~"] = values.get(control.name, control.at(mode))


def seeded(name: str) -> Any:
    """What a link, a file or an earlier visit to the page last put into a widget."""
    return st.session_state.get(f"{name}~")


def later(page: Page, given: Mapping[str, Any], by_short: bool = False) -> None:
    """Values for the next run of a page: of a preset or a file."""
    st.session_state[f"{page.id}!"] = checked(page, given, by_short)


def publish(page: Page, values: Values, view: str) -> None:
    """Write what differs from the defaults into the address, and all of it into the session."""
    changed = link_keys(page, values, whole=False)
    if view:
        changed["view"] = view
    if changed and set(changed) != {"view"}:
        changed["v"] = VERSION
    st.session_state[f"{page.id}="] = values
    st.session_state[f"{page.id}?"] = dict(changed)
    _remember(page, changed)
    if chips := uploads.packed(values.values()):
        changed["chip"] = st.session_state["chips of link"] = chips
    if st.session_state.get("lang", "en") != "en":
        changed["lang"] = st.session_state["lang"]
    if st.query_params.to_dict() != changed:
        st.query_params.from_dict(changed)


def link_keys(page: Page, values: Mapping[str, Any], whole: bool) -> dict[str, str]:
    """Short keys and texts: all values for a link that outlives a change of defaults, else those that differ."""
    mode = page.question.mode_of(values)
    base = page.question.defaults(mode)
    if page.question.mode and mode != page.question.default_mode:
        base[page.question.mode] = page.question.default_mode
    found = {}
    for control in page.question.controls:
        value = values.get(control.name)
        if control.shown(mode) and value is not None and (whole or value != base.get(control.name)):
            found[control.short] = url_text(value)
        elif control.shown(mode) and value is None and base.get(control.name) is not None:
            found[control.short] = ""
    return found


def link(page: Page, values: Mapping[str, Any]) -> str:
    """The path and query of a link that holds every value."""
    query = {**link_keys(page, values, whole=True), "v": VERSION}
    if chips := uploads.packed(values.values()):
        query["chip"] = chips
    home = next(iter(st.session_state.get("navigation", {page.id: None})))
    return f"{'' if page.id == home else page.id}?{urlencode(query)}"


def to_toml(page: Page, values: Mapping[str, Any]) -> str:
    """The page's question as a file that its upload reads back."""
    lines = [
        f"# A question to the costsim dashboard, page {page.title!r}.",
        f'page = "{page.id}"', f"version = {VERSION}", f'costsim = "{__version__}"', "", "[values]",
    ]  # fmt: skip
    for name, value in values.items():
        if value is not None:
            lines.append(f"{name} = {_toml(value)}")
    chips = uploads.texts(values.values())
    return "\n".join(
        [*lines, *(["", "[chips]"] if chips else []), *(f"{n} = {_toml(t)}" for n, t in chips.items()), ""]
    )


def _toml(value: Any) -> str:
    import json

    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def from_toml(data: Mapping[str, Any], pages: Mapping[str, Page]) -> Page:
    """The page that a file asks for, with its values set for its next run. Raises BadInput for anything else."""
    name = data.get("page")
    if not isinstance(name, str) or name not in pages:
        known = ", ".join(sorted(pages))
        raise BadInput(f"page: the file names no page of this dashboard; write page = one of {known}")
    if str(data.get("version", VERSION)) != VERSION:
        raise BadInput(f"version: this dashboard reads version {VERSION}; the file says {str(data['version'])[:20]}")
    values = data.get("values", {})
    if not isinstance(values, dict):
        raise BadInput("values: a table is needed, [values], with a line for each setting")
    chips = data.get("chips", {})
    if not isinstance(chips, dict) or not all(isinstance(text, str) for text in chips.values()):
        raise BadInput("chips: a table is needed, [chips], with the TOML of a chip as text on each line")
    for text in list(chips.values())[: uploads.LINK_CHIPS]:
        uploads.add_chip(text.encode())
    later(pages[name], values)
    return pages[name]
