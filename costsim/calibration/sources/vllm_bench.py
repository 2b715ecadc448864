"""Result of ``vllm bench serve --save-result`` (and SGLang's ``bench_serving`` of the same form): one run's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costsim.calibration.sources.text import number, read_log, read_object
from costsim.errors import BadInput

_STATISTICS = ("mean", "median", "p99")
_LATENCIES = ("ttft", "tpot", "itl", "e2el")


@dataclass(frozen=True)
class Serving:
    """What one closed run of requests measured; seconds and tokens per second.

    ``latency_s`` maps ``mean_ttft``, ``p99_tpot`` … to seconds; statistics the file lacks are absent.
    """

    model: str
    backend: str
    concurrency: int | None
    completed: int
    failed: int
    duration_s: float
    input_tokens: float
    output_tokens: float
    requests_per_s: float
    output_tokens_per_s: float
    latency_s: dict[str, float]


def read(path: Path) -> Serving:
    """The metrics of the file; BadInput names the key that is missing or wrong."""
    where = path.name
    document = read_object(read_log(path, "vllm bench result"), where)
    duration = _need(document, "duration", where)
    completed = _need(document, "completed", where)
    output = _need(document, "total_output_tokens", where)
    latency = {
        f"{statistic}_{name}": number(document[key], key, where) * 1e-3
        for name in _LATENCIES
        for statistic in _STATISTICS
        if document.get(key := f"{statistic}_{name}_ms") is not None
    }
    if not latency:
        raise BadInput(f"{where}: no latency such as mean_ttft_ms; expected a file of `vllm bench serve --save-result`")
    rate = document.get("request_throughput")
    throughput = document.get("output_throughput")
    concurrency = document.get("max_concurrency")
    return Serving(
        model=str(document.get("model_id", "")),
        backend=str(document.get("backend", document.get("endpoint_type", ""))),
        concurrency=None if concurrency is None else int(number(concurrency, "max_concurrency", where)),
        completed=int(completed),
        failed=int(number(document.get("failed") or 0, "failed", where)),
        duration_s=duration,
        input_tokens=number(document.get("total_input_tokens") or 0, "total_input_tokens", where),
        output_tokens=output,
        requests_per_s=completed / duration if rate is None else number(rate, "request_throughput", where),
        output_tokens_per_s=output / duration if throughput is None else number(throughput, "output_throughput", where),
        latency_s=latency,
    )


def _need(document: dict[str, Any], key: str, where: str) -> float:
    if key not in document:
        raise BadInput(f"{where}: no key {key!r}; expected a file of `vllm bench serve --save-result`")
    return number(document[key], key, where, positive=True)
