"""Loads made of clients: each with its own rate, burstiness and lengths over the day. [servegen]

Public traces have hours, services have days: ServeGen describes 73 clients of a DeepSeek-R1 service by rate and
coefficient of variation in every ten minutes and by length distributions in every quarter of the day. Requests are
drawn from that: gamma gaps within a window, lengths independent of each other.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costsim.errors import BadInput, Malformed, NothingFound, OutOfRange, UnreadableFile
from costsim.serving.request import MAX_REQUESTS, MAX_TOKENS, Requests

_MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class Client:
    """``rate_per_s`` and ``cv`` by window; (isl, osl) classes, all equally likely, by quarter of the day."""

    rate_per_s: NDArray[np.float64]
    cv: NDArray[np.float64]
    lengths: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]


@dataclass(frozen=True)
class Clients:
    """All clients of a service; windows of ``window_s``, length classes that change every ``quarter_s``."""

    window_s: float
    quarter_s: float
    clients: tuple[Client, ...]

    @property
    def rate_per_s(self) -> NDArray[np.float64]:
        """Requests a second of all clients together, by window."""
        total: NDArray[np.float64] = np.sum([client.rate_per_s for client in self.clients], axis=0)
        return total

    def draw(self, start_s: float, end_s: float, scale: float = 1.0, seed: int = 0) -> Requests:
        """Requests between two times of the day, ``scale`` times as many. Deterministic by seed."""
        rng = np.random.default_rng(seed)
        last = len(self.clients[0].rate_per_s) * self.window_s
        if not 0 <= start_s < end_s <= last:
            raise OutOfRange(f"a time span must lie within 0 and {last:g} s of the day")
        if not 0 < scale < 1e6:
            raise OutOfRange(f"rate factor {scale:g}: must be above zero")
        expected = float(np.sum(self.rate_per_s)) * self.window_s * scale * (end_s - start_s) / last
        if expected > MAX_REQUESTS:
            raise OutOfRange(f"about {expected:.3g} requests: at most {MAX_REQUESTS:,} can be simulated")
        parts = [part for client in self.clients for part in self._draw(client, start_s, end_s, scale, rng)]
        if not parts:
            raise NothingFound("no requests in this time span; make it longer or the rate higher")
        arrival, isl, osl = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(arrival, kind="stable")
        return Requests(arrival[order] - start_s, isl[order], osl[order])

    def _draw(
        self, client: Client, start_s: float, end_s: float, scale: float, rng: np.random.Generator
    ) -> list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]]:
        """One client's requests, window by window."""
        parts = []
        for window in range(int(start_s // self.window_s), int(np.ceil(end_s / self.window_s))):
            low, high = max(start_s, window * self.window_s), min(end_s, (window + 1) * self.window_s)
            rate = float(client.rate_per_s[window]) * scale
            isl, osl = client.lengths[min(int(low // self.quarter_s), len(client.lengths) - 1)]
            if rate <= 0 or not isl.size:
                continue
            times = _arrivals(rate, float(client.cv[window]), high - low, rng) + low
            if times.size:
                parts.append((times, rng.choice(isl, times.size), rng.choice(osl, times.size)))
        return parts


def _arrivals(rate: float, cv: float, span_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A stationary renewal process with gamma gaps on [0, span]: started well before, so that it has no memory of it.

    Bursty clients (cv above one) need a long start; a Poisson count with exponential gaps needs none.
    """
    cv = min(max(cv, 0.05), 20.0)
    lead = (1.0 + cv * cv) * 2.0 / rate
    count = int((lead + span_s) * rate * 1.2 + 10.0 * cv * np.sqrt((lead + span_s) * rate) + 20)
    times = np.cumsum(rng.gamma(1.0 / cv**2, cv**2 / rate, size=count)) - lead
    inside: NDArray[np.float64] = times[(times >= 0) & (times < span_s)]
    return inside


def read_clients(path: Path) -> Clients:
    """Clients from a gzipped JSON file; BadInput names what is wrong with it."""
    try:
        with gzip.open(path, "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise UnreadableFile(f"{path.name}: larger than {_MAX_BYTES:,} bytes")
        document = json.loads(raw)
        clients = tuple(_client(entry) for entry in document["clients"])
        window_s, quarter_s = float(document["window_s"]), float(document["quarter_s"])
        windows = {len(client.rate_per_s) for client in clients}
        if not clients or len(windows) != 1 or not 0 < window_s < 1e9 or not 0 < quarter_s < 1e9:
            raise ValueError("window_s and quarter_s above zero, and as many windows for every client")
        return Clients(window_s, quarter_s, clients)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"{path}: cannot be read ({error})") from None
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, BadInput):
            raise
        raise Malformed(f"{path.name}: not a clients file ({type(error).__name__}: {error})") from None


def _client(entry: Any) -> Client:
    tokens = [[_column(quarter[name], 1.0, MAX_TOKENS).astype(np.int64) for name in ("isl", "osl")]
              for quarter in entry["lengths"]]  # fmt: skip
    lengths = tuple((prompts, answers) for prompts, answers in tokens)
    rates, cv = _column(entry["rate_per_s"], 0.0, 1e6), _column(entry["cv"], 0.0, 1e6)
    if (
        not lengths
        or not rates.size
        or rates.shape != cv.shape
        or any(bool(i.size) != bool(o.size) for i, o in lengths)
    ):
        raise ValueError("each client needs a cv for every rate, and lengths of prompts and answers")
    return Client(rates, cv, lengths)


def _column(values: Any, least: float, most: float) -> NDArray[np.float64]:
    """One dimension of numbers within bounds; NaN is in none."""
    column = np.asarray(values, dtype=float)
    if column.ndim != 1 or not ((column >= least) & (column <= most)).all():
        raise ValueError(f"a list of numbers from {least:g} to {most:g} is needed")
    return column
