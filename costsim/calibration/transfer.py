"""Transfer: whose laws stand in on a part that nobody measured, how they are carried over, and how wrong that is.

The rule, chosen among several by what leaving measured parts out costs (:mod:`costsim.calibration.left_out`):

1. Same architecture and kind of memory (grade C): the part nearest in the datasheet. Nearness is the mean of
   |ln(ratio)| over the fields that both sheets state: peaks and memory bandwidth for kernels, the scale-up fabric
   for collectives; the other set breaks ties. The correction grid is kept whole: the kernels are the same.
2. Another architecture (grade D), kernels: the nearest part of an architecture whose kernel libraries are tuned
   for these models (:data:`TUNED`). The correction counts half, in logarithms: what part of it belongs to
   that silicon and what to the shape is not known, and half was better than none and than all of it.
3. Another architecture, collectives: latencies belong to library versions more than to chips, so the parameters
   are the geometric mean over architectures, one vote each, without a correction.

What a law states as extra rows, columns or tokens per tile (``s0``, ``k0``, ``edge``) is a latency: it is carried
over in seconds, so it scales with FLOP/s per core. Bands hold four in five rows of parts that were left
out, by family, kept in ``hwprofiles/transfer.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from costsim.errors import BadInput, Malformed, UnknownSchema
from costsim.files import read_json
from costsim.num import Num
from costsim.spec.accelerator import PEAK_OF, Accelerator
from costsim.spec.catalog import ACCELERATORS, ROOT, load_accelerator, names
from costsim.timing.device import Correction, FittedLaw
from costsim.timing.laws import AnyLaw, Hop

PATH = ROOT / "hwprofiles" / "transfer.json"
SCHEMA = 1
#: datasheet fields that place a part for kernels, and for collectives
SHEET = ("bf16", "fp8", "int8", "fp4", "memory_bandwidth")
FABRIC = ("scale_up_bandwidth", "scale_up_domain")
#: architectures whose libraries are tuned for large mixture-of-experts models; Ampere's MLA and grouped kernels
#: reach a third of what tuned ones do, on Ampere and, as donors, on Ascend and H800
TUNED = ("hopper", "blackwell")
#: share of a correction (in logarithms) that crosses from one architecture to another
CROSSING = 0.5
#: a law of this many times fewer points than the best-measured one comes last
SPARSE = 20
#: parameters that are latencies in units of work
_LATENCIES = ("s0", "k0", "edge")
#: BF16 FLOP/s above which a "core" is no tile's worth; the parts measured have 3e12 to 16e12, a Gaudi 3's 26e12
TILE_CORE_FLOPS = 5e13
#: families whose transfer was not measured: the measured one that resembles them most
_LIKE = {
    "moe_normal": "moe", "moe_masked": "moe", "grouped_gemm": "moe", "dispatch": "dispatch_ll",
    "moe@sglang": "moe", "moe@vllm": "moe", "combine": "combine_ll", "all_to_all": "all_gather", "p2p": "all_gather",
}  # fmt: skip

Tables = Mapping[str, Mapping[str, FittedLaw]]


@dataclass(frozen=True)
class Faded:
    """A correction of which only a ``share`` (in logarithms) is trusted."""

    whole: Correction
    share: float

    def factor(self, shape: Mapping[str, Num]) -> Num:
        factor = self.whole.factor(shape)
        return np.sqrt(factor) if self.share == 0.5 else np.power(factor, self.share)


def distance(a: Accelerator, b: Accelerator, names: Sequence[str]) -> float:
    """Mean |ln(a/b)| over the datasheet fields that both state, per rank; infinite where they share none."""
    one, other = a.rank().datasheet, b.rank().datasheet
    pairs = [(one[name].value, other[name].value) for name in names]
    apart = [abs(math.log(x / y)) for x, y in pairs if x and y]
    return sum(apart) / len(apart) if apart else math.inf


def anchor(chip: Accelerator) -> Accelerator:
    """The part whose sheet says which measured parts are near: the catalog's own of this id, else of its sibling.

    An edited copy ("H200 with twice the bandwidth") keeps the laws of the part that it was copied from. Its distances
    would otherwise hand it to another donor, and a better field could make it slower.
    """
    known = names(ACCELERATORS)
    named = next((name for name in (chip.id, chip.sibling) if name in known), None)
    return chip if named is None else load_accelerator(named)


def memory_kind(chip: Accelerator) -> str:
    """HBM, GDDR, LPDDR, DDR: the letters that the memory's name begins with."""
    name = chip.memory_type.upper()
    return next((kind for kind in ("HBM", "GDDR", "LPDDR", "DDR") if name.startswith(kind)), name)


def relatives(chip: Accelerator, family: str, measured: Sequence[Accelerator]) -> list[Accelerator]:
    """Measured parts of the same architecture and kind of memory, nearest first (rule 1)."""
    own = [m for m in measured if m.id != chip.id and m.architecture == chip.architecture]
    return _nearest(chip, family, [m for m in own if memory_kind(m) == memory_kind(chip)])


def strangers(chip: Accelerator, family: str, measured: Sequence[Accelerator]) -> list[Accelerator]:
    """Measured parts of other architectures, nearest first; the kind of memory comes before nearness (rule 2)."""
    others = [m for m in measured if m.id != chip.id and m not in relatives(chip, family, measured)]
    alike = [m for m in others if memory_kind(m) == memory_kind(chip) == "GDDR"]
    tuned = [m for m in others if m.architecture in TUNED and m not in alike]
    return _nearest(chip, family, alike) + _nearest(chip, family, tuned)


def _nearest(chip: Accelerator, family: str, parts: Sequence[Accelerator]) -> list[Accelerator]:
    first, second = (FABRIC, SHEET) if is_wire(family) else (SHEET, FABRIC)

    def key(part: Accelerator) -> tuple[float, float, bool, str]:
        return (round(distance(chip, part, first), 6), round(distance(chip, part, second), 6),
                part.id != chip.sibling, part.id)  # fmt: skip

    return sorted(parts, key=key)


def is_wire(family: str) -> bool:
    """Whether the family is a collective."""
    return family.startswith(("all_", "reduce_scatter", "dispatch", "combine", "p2p"))


def find(
    chip: Accelerator, key: str, measured: Sequence[Accelerator], tables: Tables, bands: Bands | None = None
) -> FittedLaw | None:
    """The law of ``family/dtype`` that measured parts other than ``chip`` lend it, with grade and band; else None.

    ``tables`` maps the ids of ``measured`` to their read calibrations. Names no other family or dtype: what
    may stand for what is the caller's to say.
    """
    family, dtype = key.split("/")
    bands = shipped_bands() if bands is None else bands
    others = [m for m in measured if m.id != chip.id]
    copied = any(
        distance(chip, part, (*SHEET, *FABRIC)) == 0 for part in others if part.architecture == chip.architecture
    )
    like = chip if copied else anchor(chip).model_copy(update={"id": chip.id})
    close = _holders(like, relatives(like, family, others), key, tables)
    if close:
        return carried(chip, close[0], tables[close[0].id][key], "C", bands.of(key, "C"), dtype)
    if is_wire(family):
        return _average(like, key, others, tables, bands)
    far = _holders(like, strangers(like, family, others), key, tables)
    if not far:
        return None
    return carried(chip, far[0], tables[far[0].id][key], "D", bands.of(key, "D"), dtype)


def _holders(like: Accelerator, parts: Sequence[Accelerator], key: str, tables: Tables) -> list[Accelerator]:
    """Parts that have the law, those measured at a handful of points last, unless they have the very same sheet."""
    have = [part for part in parts if key in tables.get(part.id, {})]
    most = max((tables[part.id][key].points for part in have), default=0)

    def last(part: Accelerator) -> bool:
        return tables[part.id][key].points * SPARSE < most and distance(like, part, (*SHEET, *FABRIC)) > 0

    return sorted(have, key=last)


def carried(
    chip: Accelerator, donor: Accelerator, entry: FittedLaw, grade: str, band: tuple[float, float], dtype: str = "bf16"
) -> FittedLaw:
    """The donor's law in the supply of ``chip``: latencies kept in seconds, correction whole (C) or half (D)."""
    correction = entry.correction
    if correction is not None and grade == "D":
        correction = Faded(correction, CROSSING)
    return replace(
        entry, law=rescaled(entry.law, _faster(chip, donor, dtype)), grade=grade, correction=correction,
        low=min(entry.low, band[0]), high=max(entry.high, band[1]),
    )  # fmt: skip


def rescaled(law: AnyLaw, faster: float) -> AnyLaw:
    """The law on cores ``faster`` times as fast: work that stands for a latency grows with them."""
    names = {field.name for field in fields(law)} & set(_LATENCIES)
    if not names or not 0 < faster < math.inf:
        return law
    return replace(law, **{name: getattr(law, name) * faster for name in names})


def _faster(chip: Accelerator, donor: Accelerator, dtype: str) -> float:
    """How many times the FLOP/s of one core of ``donor`` a core of ``chip`` has.

    In the law's own number format, in BF16 where a sheet has none; NaN where a source states neither, and nothing is
    then rescaled.
    """
    for key in (PEAK_OF.get(dtype, "bf16"), "bf16"):
        one, other = (_core_rate(part, key) for part in (chip, donor))
        if math.isfinite(one / other):
            return one / other
    return math.nan


def _core_rate(chip: Accelerator, key: str) -> float:
    peak, cores = chip.rank().datasheet[key].value, tile_cores(chip)
    return peak / cores if peak and cores else math.nan


def tile_cores(chip: Accelerator) -> float | None:
    """Cores that each work on one output tile at a time; None where no source states a number of such cores.

    A TPU's one or two TensorCores run many tiles side by side: they are no cores in the sense of the laws.
    """
    peak, cores = anchor(chip).rank().datasheet["bf16"].value, chip.rank().datasheet["cores"].value
    return None if cores is None or (peak or 0.0) / cores > TILE_CORE_FLOPS else cores


def _average(
    chip: Accelerator, key: str, measured: Sequence[Accelerator], tables: Tables, bands: Bands
) -> FittedLaw | None:
    """Rule 3: the geometric mean of the parameters, one vote for each architecture with HBM, else for each at all."""
    ranked = _holders(chip, _nearest(chip, key.split("/")[0], measured), key, tables)
    voters = [part for part in ranked if memory_kind(part) == "HBM"] or ranked
    votes: dict[str, list[FittedLaw]] = {}
    for part in voters:
        if tables[part.id][key].points * SPARSE >= tables[voters[0].id][key].points:
            votes.setdefault(part.architecture, []).append(tables[part.id][key])
    if not votes:
        return None
    each = [_mean([entry.law for entry in entries]) for entries in votes.values()]
    entries = [entry for some in votes.values() for entry in some]
    low, high = bands.of(key, "D")
    return replace(
        entries[0], law=_mean(each), grade="D", correction=None, low=low, high=high,
        points=sum(entry.points for entry in entries),
        sources=tuple(dict.fromkeys(source for entry in entries for source in entry.sources)),
        origin="+".join(dict.fromkeys(entry.origin for entry in entries)),
    )  # fmt: skip


def _mean(laws: Sequence[AnyLaw]) -> AnyLaw:
    """Geometric mean of every parameter; the laws are of one kind."""
    first = laws[0]
    assert isinstance(first, Hop)

    def middle(name: str) -> float:
        return math.exp(sum(math.log(max(getattr(law, name), 1e-12)) for law in laws) / len(laws))

    return Hop(**{field.name: middle(field.name) for field in fields(first)})


@dataclass(frozen=True)
class Bands:
    """P10 and P90 of measured/predicted by grade (C, D) and ``family/dtype``; ``""`` holds all families together."""

    table: Mapping[str, Mapping[str, tuple[float, float]]]

    def of(self, key: str, grade: str) -> tuple[float, float]:
        """The band of a transferred law: of the exact key, else of its family in all dtypes, else of all families."""
        family = key.split("/")[0]
        known = self.table[grade]
        for name in (key, family, _LIKE.get(family, ""), ""):
            if name in known:
                return known[name]
        return (1.0, 1.0)


@lru_cache(maxsize=1)
def shipped_bands() -> Bands:
    """The bands of ``hwprofiles/transfer.json``."""
    return read_bands(PATH)


def read_bands(path: Path) -> Bands:
    """The bands in a file that :func:`costsim.calibration.left_out.bands_text` wrote; BadInput says what is wrong."""
    try:
        document = read_json(path, "transfer bands")
        if document["schema"] != SCHEMA:
            raise UnknownSchema(f"transfer bands {path}: schema {document['schema']}, this version reads {SCHEMA}")
        table = {grade: {name: _span(entry) for name, entry in document["bands"][grade].items()} for grade in "CD"}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise Malformed(f"transfer bands {path}: not readable ({type(error).__name__}: {error})") from None
    return Bands(table)


def _span(entry: Mapping[str, float]) -> tuple[float, float]:
    low, high = float(entry["p10_ratio"]), float(entry["p90_ratio"])
    if not 0 < low <= 1 <= high < math.inf:
        raise ValueError(f"p10_ratio {low:g} must be in (0, 1] and p90_ratio {high:g} at least 1")
    return low, high
