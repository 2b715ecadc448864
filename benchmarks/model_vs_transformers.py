"""Speed of the model against transformers' DeepSeek-V3, interleaved in one process on the CPU.

    python -m benchmarks.model_vs_transformers [--repeats 5] [--threads 2] [--json FILE]

Both run the same 107 M-parameter checkpoint in FP32. Every repeat times one after the other, the order alternating, so
that a busy machine slows both; the ratio of a repeat compares neighbours in time, and the median over repeats is
reported. ``cores`` is processor time over wall time: below about 0.9 × threads something else was running.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import torch

SIZES = {
    "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1536, "moe_intermediate_size": 192,
    "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "n_routed_experts": 32,
    "num_experts_per_tok": 4, "n_group": 4, "topk_group": 2, "kv_lora_rank": 128, "q_lora_rank": 192,
    "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "first_k_dense_replace": 1,
    "n_shared_experts": 1, "max_position_embeddings": 2048, "num_mtp_layers": 0,
}  # fmt: skip


class Case:
    """One measurement: ``tokens`` processed per call, in a way that both implementations offer."""

    def __init__(self, name, batch, context, tokens):
        self.name, self.batch, self.context, self.tokens = name, batch, context, tokens


PREFILL = Case("prefill, 512 tokens", 1, 512, 0)
CASES = (PREFILL, Case("decode, batch 1", 1, 256, 16), Case("decode, batch 8", 8, 256, 16))


def reference(experts="grouped_mm"):
    """transformers' model with random weights."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    made = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**SIZES)).eval()
    made.set_experts_implementation(experts)
    return made


def run_reference(module, ids, case):
    """Seconds of one call of transformers."""
    if not case.tokens:
        return timed(lambda: module(ids, logits_to_keep=1))
    state = {"cache": module(ids, use_cache=True, logits_to_keep=1).past_key_values, "token": ids[:, -1:]}

    def decode():
        for _ in range(case.tokens):
            out = module(state["token"], past_key_values=state["cache"], use_cache=True)
            state["token"] = out.logits[:, -1:].argmax(-1)

    return timed(decode)


def run_ours(module, ids, case):
    """Seconds of one call of ours."""
    import model

    cache = model.LatentCache(module.config, len(ids), case.context + case.tokens)
    if not case.tokens:
        return timed(lambda: module.head(module.hidden(ids, cache)[:, -1:]))
    module.hidden(ids, cache)
    state = {"token": ids[:, -1:]}

    def decode():
        for _ in range(case.tokens):
            state["token"] = module(state["token"], cache)[:, -1:].argmax(-1)

    return timed(decode)


def timed(call):
    """(wall seconds, processor seconds) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.no_grad()
def compare(repeats, experts):
    """Rows of tokens per second, ratios and cores, for every case."""
    import model

    theirs = reference(experts)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = model.from_pretrained(folder)
    ids = torch.randint(0, SIZES["vocab_size"], (1, 64))
    difference = (ours(ids) - theirs(ids).logits).abs().max().item()
    rows = []
    for case in CASES:
        ids = torch.randint(0, SIZES["vocab_size"], (case.batch, case.context))
        pair = {"ours": lambda ids=ids, case=case: run_ours(ours, ids, case)}
        pair["transformers"] = lambda ids=ids, case=case: run_reference(theirs, ids, case)
        for call in pair.values():
            call()
        seen = {name: [] for name in pair}
        for repeat in range(repeats):
            for name in sorted(pair, reverse=bool(repeat % 2)):
                seen[name].append(pair[name]())
        work = case.batch * (case.tokens or case.context)
        rows.append(row(case, work, seen))
    return {"parameters": sum(p.numel() for p in theirs.parameters()), "logit_difference": difference, "cases": rows}


def row(case, work, seen):
    """Medians of one case."""
    ratios = [theirs[0] / ours[0] for ours, theirs in zip(seen["ours"], seen["transformers"], strict=True)]
    result = {
        "case": case.name,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }
    for name, times in seen.items():
        result[f"{name}_tokens_per_s"] = work / statistics.median(wall for wall, _ in times)
        result[f"{name}_cores"] = sum(cpu for _, cpu in times) / sum(wall for wall, _ in times)
    return result


def peak(which, case_index, threads, queue):
    """Peak resident bytes above the process's own size with the model loaded, in a fresh process."""
    import resource

    import model

    torch.set_num_threads(threads)
    case = CASES[case_index]
    with torch.no_grad():
        if which == "ours":
            torch.manual_seed(0)
            module, run = model.DeepSeek(model.DeepSeekConfig.from_hf(reference().config.to_dict())).eval(), run_ours
        else:
            module, run = reference(), run_reference
        ids = torch.randint(0, SIZES["vocab_size"], (case.batch, case.context))
        before = resident()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
        run(module, ids, case)
        high = peak_resident() if Path("/proc/self/status").exists() else resource.getrusage(0).ru_maxrss * 1024
    queue.put(high - before)


def resident():
    """Bytes of this process in memory now."""
    return status("VmRSS")


def peak_resident():
    """The most since the peak was last forgotten."""
    return status("VmHWM")


def status(name):
    """One field of Linux's account of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def memory(threads):
    """Peak bytes of a forward pass beyond the loaded model, each in its own process."""
    context = multiprocessing.get_context("spawn")
    found = []
    for index, case in enumerate(CASES):
        line = {"case": case.name}
        for which in ("ours", "transformers"):
            queue = context.Queue()
            process = context.Process(target=peak, args=(which, index, threads, queue))
            process.start()
            line[f"{which}_bytes"] = queue.get(timeout=300)
            process.join()
        found.append(line)
    return found


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--experts", default="grouped_mm", help="transformers' way: grouped_mm (its default) or eager")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--no-memory", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = compare(options.repeats, options.experts) | {"threads": options.threads, "experts": options.experts}
    print(f"{result['parameters'] / 1e6:.1f} M parameters, FP32, {options.threads} threads, torch {torch.__version__}")
    print(f"largest logit difference {result['logit_difference']:.1e}")
    print(f"{'case':22}{'ours tok/s':>12}{'theirs tok/s':>14}{'ratio':>8}{'range':>14}{'cores':>12}")
    for r in result["cases"]:
        speeds = f"{r['ours_tokens_per_s']:12.1f}{r['transformers_tokens_per_s']:14.1f}{r['ratio']:7.2f}×"
        cores = f"{r['ours_cores']:.2f}/{r['transformers_cores']:.2f}"
        print(f"{r['case']:22}{speeds}{r['ratio_low']:8.2f}–{r['ratio_high']:.2f}{cores:>12}")
    if not options.no_memory:
        result["memory"] = memory(options.threads)
        for m in result["memory"]:
            ours, theirs = m["ours_bytes"] / 2**20, m["transformers_bytes"] / 2**20
            print(f"{m['case']:22} peak beyond the weights: ours {ours:.0f} MiB, transformers {theirs:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
