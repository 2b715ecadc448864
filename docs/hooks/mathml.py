"""LaTeX in ```math fences and in $`…`$ becomes MathML, which browsers draw themselves: no script, no network."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^```math\n(.*?)^```$", re.S | re.M)
_INLINE = re.compile(r"\$`([^`]+)`\$")


def rendered(markdown: str) -> str:
    """The page with its formulas drawn; the LaTeX stays as the formula's label."""
    markdown = _FENCE.sub(lambda found: f'<div class="math">{_math(found[1], "block")}</div>\n', markdown)
    # in a span: a line that begins with <math> would end its paragraph
    return _INLINE.sub(lambda found: f"<span>{_math(found[1], 'inline')}</span>", markdown)


def _math(latex: str, display: str) -> str:
    from latex2mathml.converter import convert

    label = " ".join(latex.split()).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    drawn = convert(" ".join(latex.split()), display=display)
    return drawn.replace("<math ", f'<math aria-label="{label}" ', 1)
