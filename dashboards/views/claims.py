"""Claims: what is said in public about DeepSeek, each computed and judged."""

from __future__ import annotations

from dashboards.page import Page

PAGE = Page(
    id="claims", title="Claims", icon=":material/gavel:", group="Evidence", order=130, verb="claims", long=True,
    lead="Public statements about DeepSeek's costs: each computed and judged, with the condition under which it holds.",
)  # fmt: skip
