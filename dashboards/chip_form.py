"""A chip by form: what differs from the chip it starts from is written into that chip's TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from itertools import cycle

import streamlit as st

from costsim.errors import BadInput
from dashboards.words import name_of, tr

#: fields of the datasheet that a form asks for; the others stay as they are
FIELDS = ("bf16", "fp8", "fp4", "memory", "memory_bandwidth", "cores", "tdp", "scale_up_bandwidth", "scale_up_domain",
          "scale_out_bandwidth")  # fmt: skip
_LONGEST = 40


def asked(base: str, text: str) -> bytes | None:
    """The TOML that the form makes of the chip ``base``, once its button is pressed. BadInput where nothing differs."""
    sheet = tomllib.loads(text)["datasheet"]
    with st.form("hardware/form", enter_to_submit=False):
        names = st.columns(2)
        given = {"id": names[0].text_input(tr("Its id"), f"my-{base}", key=f"hardware/{base}/id", max_chars=_LONGEST),
                 "name": names[1].text_input(tr("Its name"), f"my {base}", key=f"hardware/{base}/name",
                                             max_chars=_LONGEST)}  # fmt: skip
        for field, column in zip((name for name in FIELDS if name in sheet), cycle(names), strict=False):
            given[field] = column.text_input(
                name_of(field), str(sheet[field]["value"]), key=f"hardware/{base}/{field}", max_chars=_LONGEST
            )
        st.caption(tr("Dense peaks; bandwidths a card and direction; n/a: not there; unknown: nobody states it."))
        pressed = st.form_submit_button(tr("Add the chip of this form"), type="primary")
    return written(text, given).encode() if pressed else None


def written(text: str, given: Mapping[str, str]) -> str:
    """``text`` with these values; a figure that changes loses its source and confidence, for it is the reader's own."""
    data = tomllib.loads(text)
    changed = {field: value.strip() for field, value in given.items()
               if field in data["datasheet"] and value.strip() != str(data["datasheet"][field]["value"])}  # fmt: skip
    if not changed:
        raise BadInput(f"no figure differs from {data['id']}; change one")
    if not given["id"].strip() or given["id"].strip() == data["id"]:
        raise BadInput("id: give the chip an id of its own")
    for key in ("id", "name"):
        text = _line(text, key, json.dumps(given[key].strip(), ensure_ascii=False))
    for field, value in changed.items():
        quoted = json.dumps(value, ensure_ascii=False)
        text = _line(text, field, f'{{ value = {quoted}, source = "own-figure", confidence = "D" }}')
    return text


def _line(text: str, key: str, value: str) -> str:
    """``text`` with the line of one key replaced."""
    return re.sub(rf"(?m)^({key} *)= .*$", lambda found: f"{found[1]}= {value}", text, count=1)
