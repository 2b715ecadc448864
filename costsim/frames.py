"""Framed: answers as tidy pandas tables by name, and as plain tables where a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = Mapping[str, Iterable[Mapping[str, Any]]]
#: rows of each table that a notebook shows
_SHOWN = 12


class Framed:
    """What has several tables. A type says its ``rows()``; frames and the view of a notebook follow."""

    def rows(self) -> Rows:
        """Every table by name, one mapping a row."""
        raise NotImplementedError

    def frames(self) -> dict[str, DataFrame]:
        """Every table as a tidy pandas frame."""
        import pandas

        return {name: pandas.DataFrame(list(rows)) for name, rows in self.rows().items()}

    def _repr_html_(self) -> str:
        """What a notebook shows: the first rows of every table; the rest is in :meth:`frames`."""
        parts = [f"<h4>{escape(type(self).__name__)}</h4>"]
        for name, rows in self.rows().items():
            every = list(rows)
            if not every:
                continue
            more = f", {_SHOWN} of {len(every):,} rows" if len(every) > _SHOWN else ""
            parts.append(f"<p><b>{escape(name)}</b>{more}</p>{_table(every[:_SHOWN])}")
        return "".join(parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in columns) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    """Four digits of a number, everything else as text, escaped."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return escape(str(value))
