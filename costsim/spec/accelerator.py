"""Accelerator: what the vendor states about one chip or card, each field with its source.

Peaks are dense, bandwidths per direction. ``unknown`` stays unknown: asking for such a field
raises :class:`UnknownField` with its name. What was *measured* lives in ``hwprofiles/calibration``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from costsim import units
from costsim.errors import UnknownField, UnsupportedDtype
from costsim.spec.base import CatalogId, Frozen, OwnId

#: datasheet key -> dimension of units.UNITS
DATASHEET: dict[str, str] = {
    "bf16": "flop_rate",
    "fp8": "flop_rate",
    "int8": "flop_rate",
    "fp4": "flop_rate",
    "fp32": "flop_rate",
    "tf32": "flop_rate",
    "memory": "bytes",
    "memory_bandwidth": "bandwidth",
    "l2": "bytes",
    "cores": "count",
    "clock": "frequency",
    "tdp": "power",
    "scale_up_bandwidth": "bandwidth",
    "scale_up_domain": "count",
    "scale_out_bandwidth": "bandwidth",
}
#: fields of a card that hold for all its dies together
_PER_CARD = ("bf16", "fp8", "int8", "fp4", "fp32", "tf32", "memory", "memory_bandwidth", "l2", "cores", "tdp",
             "scale_up_bandwidth", "scale_out_bandwidth")  # fmt: skip
#: dtype of the arithmetic -> datasheet field of its peak; W4A16 multiplies in BF16
PEAK_OF = {"bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "int8": "int8", "fp4": "fp4", "fp32": "fp32", "w4": "bf16",
           "w4a8": "fp8"}  # fmt: skip

#: bounds of a datasheet field in SI, far outside any chip; beyond them answers would not be numbers
LEAST, MOST, MAX_OF_COUNT = 1e-3, 1e24, 1e9

Confidence = Literal["A", "A-", "B", "B-", "C", "D", "B (power only)"]


class Datum(Frozen):
    """One datasheet field: SI value (None where unknown or not supported), sources, confidence."""

    value: float | None
    unit: str
    text: str
    sources: tuple[str, ...] = ()
    confidence: Confidence = "D"
    note: str = ""

    @property
    def supported(self) -> bool:
        return self.text != "n/a"


def _datum(key: str, raw: Any) -> Datum:
    if not isinstance(raw, dict) or "value" not in raw:
        raise ValueError(f'{key}: write {{ value = "...", source = "key", confidence = "A" }}')
    extra = set(raw) - {"value", "source", "confidence", "note"}
    if extra:
        raise ValueError(f"{key}: unknown key {min(extra)[:40]!r}")
    text = str(raw["value"])
    known = text not in ("unknown", "n/a")
    value = units.parse(raw["value"], DATASHEET[key], key) if known else None
    if value is not None and (value < 0 or (value == 0 and key != "scale_out_bandwidth")):
        raise ValueError(f"{key}: {text!r} must be positive, 'unknown' or 'n/a'")
    least, most = (1.0, MAX_OF_COUNT) if DATASHEET[key] == "count" else (LEAST, MOST)
    if value and not least <= value <= most:
        raise ValueError(f"{key}: {text[:40]!r} is outside what a chip can have")
    source = raw.get("source", ())
    if not isinstance(source, (str, list, tuple)):
        raise ValueError(f"{key}: source: expected a key of the bibliography, or a list of them")
    sources = (source,) if isinstance(source, str) else tuple(source)
    return Datum(
        value=value,
        unit=units.SI_NAME[DATASHEET[key]],
        text=text,
        sources=sources,
        confidence=raw.get("confidence", "D"),
        note=raw.get("note", ""),
    )


class Accelerator(Frozen):
    """One chip or card of the catalog.

    ``sibling`` names the part with the same silicon whose measurements carry over at grade C;
    ``calibration`` is a file of laws that lies beside a user's own TOML; the catalog's parts have theirs by id.
    ``file`` is the path of such a TOML as the user gave it, set on loading.
    ``dies`` > 1 means that a rank of a parallel plan is one die (Ascend 910C: a card of two).
    """

    id: OwnId
    name: str
    vendor: str
    market: str = ""
    year: int | None = None
    architecture: str
    sibling: CatalogId | None = None
    dies: int = Field(default=1, ge=1, le=16)
    node_devices: int = Field(default=8, ge=1, le=1_000_000)
    torch_device: str
    scale_up_fabric: str = ""
    memory_type: str = ""
    notes: str = ""
    calibration: str = ""
    file: str = ""
    datasheet: dict[str, Datum]

    @field_validator("datasheet", mode="before")
    @classmethod
    def _read_datasheet(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            raise ValueError("a table of datasheet fields is needed")
        if raw and all(isinstance(value, Datum) for value in raw.values()):
            return raw
        unknown, missing = set(raw) - set(DATASHEET), set(DATASHEET) - set(raw)
        if unknown or missing:
            name = min(unknown or missing)[:40]
            what = "unknown field" if unknown else "missing field (write 'unknown' if it is)"
            raise ValueError(f"{what} {name!r}; fields: {', '.join(DATASHEET)}")
        return {key: _datum(key, value) for key, value in raw.items()}

    def known(self, key: str) -> bool:
        """Whether a source states this field."""
        return self.datasheet[key].value is not None

    def need(self, key: str) -> float:
        """SI value of a datasheet field; raises UnknownField where no source states it."""
        datum = self.datasheet[key]
        if datum.value is None:
            state = "not supported by" if datum.text == "n/a" else "unknown for"
            shown = f"costsim hw show {self.file or self.id}"
            raise UnknownField(f"{key} is {state} {self.id}; this question needs it (see `{shown}`)")
        return datum.value

    def peak(self, dtype: str) -> float:
        """Dense peak in FLOP/s of the arithmetic type; raises UnsupportedDtype or UnknownField."""
        key = PEAK_OF.get(dtype)
        if key is None:
            raise UnsupportedDtype(f"unknown dtype {dtype!r}; known: {', '.join(PEAK_OF)}")
        if not self.datasheet[key].supported:
            have = [name for name in ("bf16", "fp8", "int8", "fp4") if self.known(name)]
            raise UnsupportedDtype(f"{self.id} has no {dtype} arithmetic; it has: {', '.join(have)}")
        return self.need(key)

    def rank(self) -> Accelerator:
        """The device that one rank of a plan sees: a die of a multi-die card, else the chip itself."""
        if self.dies == 1:
            return self
        per_die = {
            key: datum.model_copy(update={"value": None if datum.value is None else datum.value / self.dies})
            if key in _PER_CARD
            else datum
            for key, datum in self.datasheet.items()
        }
        domain = per_die["scale_up_domain"]
        if domain.value is not None:
            per_die["scale_up_domain"] = domain.model_copy(update={"value": domain.value * self.dies})
        update = {"datasheet": per_die, "dies": 1, "node_devices": self.node_devices * self.dies}
        return self.model_copy(update=update)
