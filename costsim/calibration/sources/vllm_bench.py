"""Results of serving benchmarks: ``vllm bench serve --save-result`` and SGLang's ``bench_serving`` (a run a line).

Both name latencies ``mean_ttft_ms``, ``p99_tpot_ms``; whole answers are ``e2el`` in vLLM's and ``e2e_latency`` in
SGLang's file. [vllm-engine-args; sglang-server-args]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costsim.calibration.sources.text import number, read_log, read_object
from costsim.errors import Malformed

_STATISTICS = ("mean", "median", "p50", "p90", "p99")
_LATENCIES = ("ttft", "tpot", "itl", "e2el")
#: what SGLang calls whole answers
_OTHER_NAMES = {"e2el": ("e2el", "e2e_latency")}


@dataclass(frozen=True)
class Serving:
    """What one closed run of requests measured; seconds and tokens per second.

    ``latency_s`` maps ``mean_ttft``, ``p99_tpot`` … to seconds; statistics the file lacks are absent. ``request_rate``:
    requests per second that were asked for, None where all were sent as soon as they might; ``cv`` of their gaps.
    ``lengths``: (prompt, answer) tokens of each request, where the file holds them; ``length_ratio``: lengths were
    drawn from this share of nominal up to it, where it says so. ``tokens_per_step``: what speculative decoding kept.
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
    request_rate: float | None = None
    lengths: tuple[tuple[int, int], ...] = ()
    cv: float = 1.0
    length_ratio: float | None = None
    tokens_per_step: float | None = None


#: requests whose lengths are read, and runs of one file
MAX_REQUESTS, MAX_RUNS = 1_000_000, 1_000


def read(path: Path) -> Serving:
    """The metrics of the file; BadInput names the key that is missing or wrong."""
    return _serving(read_object(read_log(path, "vllm bench result"), path.name), path.name)


def read_runs(path: Path) -> list[Serving]:
    """Every run of a file: one JSON object, or one a line as SGLang's ``bench_serving`` appends them."""
    text = read_log(path, "bench result")
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for _, line in lines):
        return [_serving(read_object(text, path.name), path.name)]
    if len(lines) > MAX_RUNS:
        raise Malformed(f"{path.name}: more than {MAX_RUNS:,} runs")
    return [_serving(read_object(line, f"{path.name} line {n}"), f"{path.name} line {n}") for n, line in lines]


def _serving(document: dict[str, Any], where: str) -> Serving:
    duration = _need(document, "duration", where)
    completed = _need(document, "completed", where)
    output = _need(document, "total_output_tokens", where)
    latency = {
        f"{statistic}_{name}": number(document[key], key, where) * 1e-3
        for name in _LATENCIES
        for other in _OTHER_NAMES.get(name, (name,))
        for statistic in _STATISTICS
        if document.get(key := f"{statistic}_{other}_ms") is not None
    }
    if not latency:
        raise Malformed(
            f"{where}: no latency such as mean_ttft_ms; expected a file of `vllm bench serve --save-result`"
        )
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
        request_rate=_rate(document.get("request_rate"), where),
        lengths=_lengths(document, where),
        cv=_cv(document.get("burstiness"), where),
        length_ratio=_ratio(document, where),
        tokens_per_step=_kept(document, where),
    )


def _cv(burstiness: Any, where: str) -> float:
    """Coefficient of variation of the gaps: vLLM's burstiness is the shape of their gamma distribution, 1/cv²."""
    return 1.0 if burstiness is None else float(number(burstiness, "burstiness", where, positive=True) ** -0.5)


def _ratio(document: dict[str, Any], where: str) -> float | None:
    """SGLang's random data sets draw lengths from ``random_range_ratio`` of nominal up to it."""
    if not str(document.get("dataset_name", "")).startswith("random") or document.get("random_range_ratio") is None:
        return None
    ratio = number(document["random_range_ratio"], "random_range_ratio", where)
    return min(max(ratio, 0.01), 1.0)


def _kept(document: dict[str, Any], where: str) -> float | None:
    """Tokens that a decode step kept, where speculative decoding ran: ``accept_length`` of SGLang, vLLM's own name."""
    for key in ("accept_length", "spec_decode_acceptance_length"):
        if document.get(key) is not None:
            return float(number(document[key], key, where))
    return None


def _rate(value: Any, where: str) -> float | None:
    """The rate asked for; "inf", "trace" and nothing mean none."""
    if value is None or str(value).lower() in ("inf", "infinity", "trace"):
        return None
    return number(value, "request_rate", where, positive=True)


def _lengths(document: dict[str, Any], where: str) -> tuple[tuple[int, int], ...]:
    """Tokens of each request that was answered, where both lists are there."""
    prompts, answers = document.get("input_lens"), document.get("output_lens")
    if not isinstance(prompts, list) or not isinstance(answers, list) or len(prompts) != len(answers):
        return ()
    if len(prompts) > MAX_REQUESTS:
        raise Malformed(f"{where}: more than {MAX_REQUESTS:,} requests")
    pairs = (
        (int(number(i, "input_lens", where)), int(number(o, "output_lens", where)))
        for i, o in zip(prompts, answers, strict=True)
    )
    return tuple((i, o) for i, o in pairs if i > 0 and o > 0)


def _need(document: dict[str, Any], key: str, where: str) -> float:
    if key not in document:
        raise Malformed(f"{where}: no key {key!r}; expected a file of `vllm bench serve --save-result`")
    return number(document[key], key, where, positive=True)
