"""Output of DeepEP's tests: normal (``test_intranode``, ``test_internode``), low latency, and V2 (``elastic/test_ep``).

What a log does not say, the caller does: :class:`Setup`. Bytes count the copies that leave a rank, as
:func:`costsim.physics.comm.expert_wires` does; where a line prints only a bandwidth, seconds follow from
the bytes DeepEP divides by, which count a rank's own copies too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from costsim.calibration.measurement import Measurement
from costsim.calibration.sources.silicon_comm import copies, touched
from costsim.calibration.sources.text import number, read_log
from costsim.errors import Malformed
from costsim.physics.op import act_bytes

_CONFIG = re.compile(r"\b(num_tokens|hidden|num_topk|num_experts)=(\d+)")
_BEST = re.compile(r"\[tuning\] Best (dispatch|combine)(?: \((FP8|BF16)\))?: SMs (\d+), (.*)")
#: letters of a line that are looked at; a longer one is no log, and would take its square in time
MAX_LINE = 2_000
_US = re.compile(r"([\d.]+) us")
_TRANSMIT = re.compile(r"transmit: ([\d.]+) us, notify: ([\d.]+) us")
_LINK = re.compile(r"([\d.]+) GB/s \((RDMA|NVL)\)")
_LL = re.compile(r"\[rank (\d+)\].*?Dispatch bandwidth: [\d.]+ GB/s, avg_t=([\d.]+) us.*?"
                 r"Combine bandwidth: [\d.]+ GB/s, avg_t=([\d.]+) us")  # fmt: skip
_V2 = re.compile(r"[*@]\s+EP:\s*(\d+)/(\d+) \|\s+(dispatch|combine):\s+([\d.]+) GB/s \(SO\),\s+([\d.]+) GB/s \(SU\),\s+"
                 r"([\d.]+) us, (\d+) bytes(?: \| \w+:\s+[\d.]+ GB/s, ([\d.]+) us)?")  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """The run, as far as the log does not tell (0: unknown). ``domain``: ranks that share the scale-up fabric."""

    ranks: int = 0
    tokens: int = 0
    hidden: int = 0
    top_k: int = 0
    experts: int = 0
    domain: int = 8

    def complete(self, where: str) -> Setup:
        """Itself, or BadInput naming what is missing."""
        known = {"ranks": self.ranks, "tokens": self.tokens, "hidden": self.hidden, "top_k": self.top_k,
                 "experts": self.experts, "domain": self.domain}  # fmt: skip
        missing = [name for name, value in known.items() if value <= 0]
        if missing:
            raise Malformed(f"{where}: the log does not say {', '.join(missing)}; give Setup({missing[0]}=...)")
        apart = self.ranks > self.domain and self.ranks % self.domain
        if self.experts % self.ranks or self.top_k > self.experts or apart:
            raise Malformed(
                f"{where}: top {self.top_k} of {self.experts} experts do not divide over {self.ranks} ranks "
                f"in domains of {self.domain}"
            )
        return self

    @property
    def nodes(self) -> float:
        return max(self.ranks / self.domain, 1.0)


def read(path: Path, setup: Setup | None = None, source: str = "") -> list[Measurement]:
    """Dispatch and combine times in the log, best configuration of each run, lowest rank that prints."""
    text = read_log(path, "DeepEP log")
    where = path.name
    rows: list[Measurement] = []
    known, first_rank = setup or Setup(), -1
    for count, line in enumerate(text.splitlines(), start=1):
        place, line = f"{where} line {count}", line[:MAX_LINE]
        known = _told(known, line)
        rank = re.search(r"\[rank (\d+)\]|EP:\s*(\d+)/", line)
        if rank:
            number_of = int((rank.group(1) or rank.group(2))[:12])
            first_rank = number_of if first_rank < 0 else first_rank
            if number_of != first_rank:
                continue
        rows += _line(line, known, place, source or where)
    if not rows:
        raise Malformed(
            f"{where}: no timing; expected lines such as `[tuning] Best dispatch (FP8): SMs ...`, "
            "`[rank 0] Dispatch bandwidth: ...` or `* EP: 0/16 | dispatch: ...`"
        )
    return rows


def _told(setup: Setup, line: str) -> Setup:
    """What the line says of the run: ``num_tokens=4096, hidden=7168, num_topk=8``."""
    names = {"num_tokens": "tokens", "hidden": "hidden", "num_topk": "top_k", "num_experts": "experts"}
    told = {names[key]: int(value[:12]) for key, value in _CONFIG.findall(line)}
    return replace(setup, **told) if told else setup


def _line(line: str, setup: Setup, place: str, source: str) -> Iterator[Measurement]:
    if match := _BEST.search(line):
        yield _normal(match, setup.complete(place), place, source)
    elif match := _LL.search(line):
        setup = setup.complete(place)
        for way, text in (("dispatch", match.group(2)), ("combine", match.group(3))):
            yield _measurement(f"{way}_ll", setup, number(text, "avg_t", place, positive=True), source)
    elif match := _V2.search(line):
        yield _elastic(match, setup, place, source)
    elif "Best dispatch" in line or "Dispatch bandwidth" in line:
        raise Malformed(f"{place}: looks like a DeepEP timing but is cut short; give the whole line")


def _normal(match: re.Match[str], setup: Setup, place: str, source: str) -> Measurement:
    """`[tuning] Best …`: a time where the version prints one, else from the slower fabric's bandwidth."""
    way, dtype, sms, rest = match.groups()
    each = act_bytes("fp8") if way == "dispatch" and dtype != "BF16" else 2.0
    if timed := _TRANSMIT.search(rest):
        time_us = sum(number(value, "time", place) for value in timed.groups())
    elif printed := _US.search(rest):
        time_us = number(printed.group(1), "time", place, positive=True)
    else:
        links = {name: number(value, name, place, positive=True) for value, name in _LINK.findall(rest)}
        if not links:
            raise Malformed(f"{place}: neither a time in us nor a bandwidth in GB/s")
        ranks, nodes = touched(setup.top_k, setup.experts, setup.ranks, setup.nodes)
        name = "NVL" if "NVL" in links else "RDMA"
        moved = setup.tokens * setup.hidden * each * (ranks if name == "NVL" else nodes)
        time_us = moved / (links[name] * 1e3)
    row = _measurement(way, setup, time_us, source, each)
    return replace(row, shape={**row.shape, "sms": number(sms, "SMs", place)})


def _elastic(match: re.Match[str], setup: Setup, place: str, source: str) -> Measurement:
    """V2: bytes received inside the domain are printed; both fabrics' bytes lose the share that stays on the rank.

    The time is the transfer and the copy or sum after it.
    """
    _, ranks, way, scale_out, _, time_us, moved, after_us = match.groups()
    total = number(ranks, "ranks", place, positive=True)
    nodes = max(total / setup.domain, 1.0)
    transfer_us = number(time_us, "time", place, positive=True)
    up = number(moved, "bytes", place) * (1.0 - 1.0 / total)
    out = number(scale_out, "SO", place) * 1e3 * transfer_us * (1.0 - 1.0 / nodes)
    wire = {"up_bytes": up, "out_bytes": out, "ranks": total, "domain": float(setup.domain)}
    seconds = (transfer_us + number(after_us or 0, "copy", place)) * 1e-6
    return Measurement(way, "bytes", seconds, source, wire=wire)


def _measurement(family: str, setup: Setup, time_us: float, source: str, each: float = 0.0) -> Measurement:
    low_latency = family.endswith("_ll")
    up, out = copies(setup.top_k, setup.experts, setup.ranks, setup.nodes, low_latency)
    size = setup.tokens * setup.hidden * (each or (act_bytes("fp8") if family.startswith("dispatch") else 2.0))
    wire = {"up_bytes": size * up, "out_bytes": size * out, "ranks": float(setup.ranks), "domain": float(setup.domain)}
    return Measurement(family, "bytes", time_us * 1e-6, source, shape={"tokens": float(setup.tokens)}, wire=wire)
