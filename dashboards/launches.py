"""Launch commands of an answer: shown to be copied, and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboards import show
from dashboards.words import safe, said, tr

if TYPE_CHECKING:
    from dashboards.run import Seen


def commands(seen: Seen) -> None:
    """Every engine's commands with its files and notes; nothing where none were asked for."""
    starts = [entry for entry in show.payload(seen.document).get("launch") or () if entry.get("commands")]
    if not starts:
        return
    name = seen.page.id
    blocks = ["\n".join((f"# {_headed(one)}", *one["commands"])) for one in starts]
    st.download_button(
        tr("Launch commands (.sh)"), lambda: "\n\n".join(["#!/bin/sh", *blocks, ""]), f"costsim-{name}-launch.sh",
        "text/x-shellscript", key=f"{name}.launch", on_click="ignore", icon=":material/download:",
    )  # fmt: skip
    with st.expander(tr("How to start it"), icon=":material/terminal:"):
        for one in starts:
            st.markdown(f"**{safe(_headed(one))}**")
            st.code("\n".join(one["commands"]), language="bash", wrap_lines=True)
            for file, text in (one.get("files") or {}).items():
                st.caption(safe(str(file)))
                st.code(str(text).strip(), wrap_lines=True)
            for note in one.get("notes") or ():
                st.caption(safe(said(str(note))))


def _headed(one: Mapping[str, Any]) -> str:
    return f"{one['engine']} {one['version']}, {one['role']}"
