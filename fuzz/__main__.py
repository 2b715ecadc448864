"""The long run: ``python -m fuzz --minutes 10``, each reader in a process of its own with an equal share of the time.

With atheris (``pip install 'costsim[fuzz]'``) libFuzzer follows the coverage of costsim's own lines; without it the
same edits are drawn at random. Findings and the inputs that show them go to ``out/fuzz``; nothing stops at the first.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
CORPUS = ROOT / "corpus"
#: inputs of one reader that are kept in the repository, and the largest of them
KEEP, KEEP_BYTES = 8, 3_000
RSS_MB, INPUT_S = 3_000, 60
_DONE = re.compile(r"^#(\d+)\s+(?:DONE|pulse|NEW|REDUCE|RELOAD|INITED)\s+cov: (\d+) ft: (\d+)", re.MULTILINE)


def slug(name: str) -> str:
    return name.replace(" ", "_")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all readers together (10)")
    parser.add_argument("--only", help="readers, joined by commas; default: all")
    parser.add_argument("--verbs", action="store_true", help="ask the whole verb with each file, not the reader alone")
    parser.add_argument("--keep", action="store_true", help="put the inputs that reach most into fuzz/corpus")
    parser.add_argument("--folder", default="out/fuzz", help="for findings (out/fuzz)")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SECONDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return one(args.one[0], float(args.one[1]), Path(args.folder), args.verbs)
    from fuzz.targets import TARGETS

    names = [name for name in TARGETS if (args.only is None or name in args.only.split(",")) and
             (TARGETS[name].verb or not args.verbs)]  # fmt: skip
    guided = importlib.util.find_spec("atheris") is not None
    print(f"{len(names)} readers, {args.minutes:g} minutes, {'coverage by atheris' if guided else 'no atheris: blind'}")
    rows = [_child(name, args.minutes * 60 / len(names), args) for name in names]
    total = sum(row["inputs"] for row in rows)
    findings = sum(row["findings"] for row in rows)
    print(f"{total:,} inputs, {sum(row['seconds'] for row in rows) / 60:.1f} minutes, {findings} findings")
    return 1 if findings else 0


def _child(name: str, seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    """One reader's share, whatever becomes of its process."""
    folder = Path(args.folder, slug(name))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("found-*"):
        old.unlink()
    command = [sys.executable, "-m", "fuzz", "--one", name, f"{seconds:.0f}", "--folder", str(folder)]
    start = time.monotonic()
    done = subprocess.run([*command, *(["--verbs"] if args.verbs else [])], capture_output=True, text=True, check=False,
                          errors="replace", timeout=seconds * 3 + 600)  # fmt: skip
    spent = time.monotonic() - start
    last = _DONE.findall(done.stderr)
    inputs = int(last[-1][0]) if last else int((re.findall(r"^inputs (\d+)", done.stdout, re.MULTILINE) or ["0"])[-1])
    crashes = (
        list(folder.glob("found-crash-*")) + list(folder.glob("found-oom-*")) + list(folder.glob("found-timeout-*"))
    )
    found = len(list(folder.glob("found-*.txt"))) + len(crashes)
    edges = f", {int(last[-1][1]):,} edges" if last else ""
    if done.returncode and not crashes:  # a signal, or a defect of the fuzzer itself: no less a finding
        (folder / "found-end.txt").write_text(
            f"ended with {done.returncode}\n{done.stderr[-20_000:]}", encoding="utf-8"
        )
        found += 1
    print(f"{name:<15} {inputs:>9,} inputs in {spent:4.0f} s{edges}, {found} findings", flush=True)
    if done.returncode and not crashes:
        print(f"   the process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    if args.keep:
        keep(name, folder)
    return {"inputs": inputs, "findings": found, "seconds": spent}


def keep(name: str, folder: Path) -> None:
    """The smallest inputs that reached new code, and every one that showed a defect."""
    target = CORPUS / slug(name)
    fresh = sorted((folder / "corpus").glob("*"), key=lambda path: path.stat().st_size)
    target.mkdir(parents=True, exist_ok=True)
    small = [path for path in fresh if 0 < path.stat().st_size <= KEEP_BYTES]
    for path in small[:: max(1, len(small) // KEEP)][:KEEP]:
        (target / path.name[:16]).write_bytes(path.read_bytes())
    for path in folder.glob("found-*"):
        if path.suffix != ".txt" and path.stat().st_size <= 20_000:
            (target / path.name[:40]).write_bytes(path.read_bytes())


class Judge:
    """Runs inputs and writes down the first of each kind of finding."""

    def __init__(self, name: str, folder: Path, verbs: bool) -> None:
        import logging

        from fuzz.oracle import Bench, Finding

        logging.disable(logging.CRITICAL)
        self.name, self.folder, self.count = name, folder, 0
        self._bench, self._finding, self._seen = Bench(), Finding, set[tuple[str, str]]()
        self._go = self._bench.ask if verbs else self._bench.read

    def __call__(self, data: bytes) -> None:
        self.count += 1
        try:
            self._go(self.name, data)
        except self._finding as found:
            key = (found.kind, found.where)
            if key not in self._seen:
                self._seen.add(key)
                path = self.folder / f"found-{len(self._seen):03d}"
                path.write_bytes(data)
                path.with_suffix(".txt").write_text(str(found), encoding="utf-8", errors="replace")


def edited(form: str, data: bytes, seed: int) -> bytes:
    """The file after a few edits that ``seed`` draws."""
    from fuzz.mutate import Edit, mutated

    draw = random.Random(seed).randrange
    return mutated(form, data, [Edit(draw(2**16), draw(39), draw(2**16)) for _ in range(1 + draw(3))])


def one(name: str, seconds: float, folder: Path, verbs: bool) -> int:
    """This process tries one reader for some seconds."""
    if importlib.util.find_spec("atheris") is None:
        return _blind(name, seconds, folder, verbs)
    import atheris

    with atheris.instrument_imports(include=["costsim", "model", "dashboards", "tomllib"]):
        from fuzz.targets import TARGETS

        target = TARGETS[name]
        judge = Judge(name, folder, verbs)
        for seed in target.seeds():  # imports what the reader needs, with its coverage
            judge(seed)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        try:
            if seed % 4:
                return edited(target.form, data, seed)[:most]
        except Exception:  # of the fuzzer, not of costsim: to be mended, but no reason to stop
            (folder / "found-fuzzer.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
        return bytes(atheris.Mutate(data, most))

    kept = CORPUS / slug(name)
    flags = [f"-max_total_time={seconds:.0f}", "-max_len=200000", f"-rss_limit_mb={RSS_MB}", f"-timeout={INPUT_S}",
             "-print_final_stats=1", f"-artifact_prefix={folder}/found-", "-len_control=0", "-verbosity=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, str(corpus), *([str(kept)] if kept.is_dir() else [])], judge,
                  custom_mutator=mutate)  # fmt: skip
    atheris.Fuzz()
    return 0


def _blind(name: str, seconds: float, folder: Path, verbs: bool) -> int:
    from fuzz.targets import TARGETS

    target, judge = TARGETS[name], Judge(name, folder, verbs)
    seeds, number, end = list(target.seeds()), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        judge(edited(target.form, seeds[number % len(seeds)], number))
        number += 1
    print(f"inputs {judge.count}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
