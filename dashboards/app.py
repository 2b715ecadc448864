"""The dashboard: `costsim dashboard` starts it. Pages are the modules of ``views/`` whose verb is installed."""

from __future__ import annotations

import streamlit as st

from dashboards import pages, uploads
from dashboards.show import STYLE, refusal
from dashboards.words import LANGUAGES, choose_language, language, tr

#: drawn here: an icon by name would be fetched from elsewhere
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#0072B2"/>'
    '<path d="M6 24h20M9 24V15h4v9m3 0V9h4v15" stroke="#fff" stroke-width="2.5" fill="none"/></svg>'
)


def main() -> None:
    """One run of the script: navigation, the shared side of the page, and the page itself."""
    st.set_page_config(page_title="costsim", page_icon=ICON, layout="wide")
    choose_language()
    st.html(STYLE)
    groups = pages.navigation()
    chosen = st.navigation(
        {tr(name): list(of.values()) for name, of in groups.items()}, position="sidebar", expanded=True
    )
    with st.sidebar:
        _side()
    chosen.run()


def _side() -> None:
    st.segmented_control(
        "Language · 语言", list(LANGUAGES), default=language(), format_func=LANGUAGES.__getitem__, key="lang",
        required=True,
    )  # fmt: skip
    with st.expander(tr("Load a question (TOML)")):
        given = st.file_uploader(
            tr("a file saved by this dashboard, or a scenario of costsim report"), type=["toml"], key="scenario",
            max_upload_size=uploads.TEXT_MB,
        )  # fmt: skip
        if given is not None and st.session_state.get("scenario taken") != given.file_id:
            st.session_state["scenario taken"] = given.file_id
            _take(given.getvalue())
    st.caption(tr("Every number comes from the same verbs as the command line. Nothing leaves this machine."))


def _take(data: bytes) -> None:
    from costsim.errors import BadInput

    try:
        page = pages.take_file(data)
    except BadInput as error:
        refusal(error)
        return
    st.switch_page(pages.streamlit_page(page))


main()
