"""Every option of every verb, as argparse knows it, with values that nobody should give.

``python -m fuzz.options`` tries all of them, each in a process of its own with bounded memory and time; ``--drawn N``
adds command lines with values drawn at random, in one or two options at once. However it ends, it says what it tried.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from costsim.cli.main import VERBS, load_verb
from costsim.cli.parser import Parser, verb_parser
from fuzz import seeds
from fuzz.oracle import Finding, run

VALUES = (
    "", " ", "0", "-1", "1", "1.5", "nan", "inf", "-inf", "1e400", "-1e400", "1e18", "1e-320", "999999999999999999999",
    "1e9GB/h", "1e300 s", "-5ms", "0s", "1e-300s", "1e300USD/h", "0USD/h", "1:1e12", "1:2:1e-300", "5:1", "1:", ":",
    "1,2,,3", ",", "1:5000000", "8," * 3000 + "8", "٣", "１２", "½", "0x10", "1_0", "1__0", "x" * 10_000, "9" * 10_000,
    "\x1b[31mred", "a\nb", "\ud800", "<script>", "=1+1", "%s", "{0}", "../../etc/passwd", "/", ".", "/etc/passwd",
    "/dev/zero", "/dev/full", "/proc/self/mem", "-", "--", "@file", "none", "list", "all",
)  # fmt: skip
#: a command line of each verb that is answered soon; {trace} and its like become files
BASE: dict[str, tuple[str, ...]] = {
    "report": ("{scenario}", "--folder", "-"),
    "infer": (),
    "train": (),
    "posttrain": (),
    "search": (),
    "place": ("--model", "deepseek-v2-lite", "--gpus", "8", "--slots", "72", "--quick", "--loads", "{loads}"),
    "simulate": ("--rate", "1", "--requests", "40", "--model", "qwen2.5-7b", "--gpus", "1", "--tp", "1", "--isl", "100",
                 "--osl", "10", "--no-bands"),
    "fleet": (),
    "trace": ("{trace}",),
    "calibrate": ("h800-sxm", "--measurements", "{measurements}"),
    "validate": ("--points", "{points}"),
    "claims": ("no-such-claim",),
    "explain": ("tpot_s",),
    "diff": ("{report}", "{report}"),
    "sensitivity": ("{report}", "--draws", "20"),
    "hw": ("list",),
    "models": ("list",),
    "network": ("show", "mpft-64x8"),
    "doctor": (),
    "completion": ("bash",),
}  # fmt: skip
#: these go on for minutes, or serve until they are stopped: their options are parsed, and no more
PARSED_ONLY = ("profile", "dashboard")
#: processor seconds and bytes of one command line
LIMIT_S, LIMIT_BYTES = 25, 3 << 30
SLOW_S = 5.0


def files(folder: Path) -> dict[str, str]:
    """Valid files that command lines name."""
    made = {
        "scenario": ("scenario.toml", seeds.scenario()), "loads": ("loads.csv", seeds.loads_csv()),
        "trace": ("worker.json", seeds.trace()), "report": ("report.json", seeds.reports()[0]),
        "measurements": ("m.csv", seeds.beginning(80, "hwprofiles", "measurements", "h800-sxm.csv")),
        "points": ("p.csv", seeds.beginning(3, "hwprofiles", "points", "serving_phases.csv")),
    }  # fmt: skip
    for name, data in made.values():
        (folder / name).write_bytes(data)
    return {key: str(folder / name) for key, (name, _) in made.items()}


@lru_cache(maxsize=64)
def parser_of(verb: str) -> Parser:
    module = load_verb(verb)
    parser = verb_parser(module.NAME, module.HELP, module.EXAMPLE)
    module.configure(parser)
    return parser


def options(verb: str) -> list[argparse.Action]:
    """The options that take a value, and the arguments without a name."""
    return [action for action in parser_of(verb)._actions if action.nargs != 0]


def cases(verb: str, values: Sequence[str] = VALUES) -> Iterator[tuple[str, ...]]:
    """Command lines: the verb's own one with a value in place of, or beside, what it gives."""
    base = BASE.get(verb, ())
    for action in options(verb):
        flag = action.option_strings[-1] if action.option_strings else ""
        for value in values:
            if not flag:
                yield (verb, value, *base[1:])
                continue
            rest = list(base)
            if flag in rest:
                at = rest.index(flag)
                del rest[at : at + 2]
            yield (verb, *rest, f"{flag}={value}")


_NUMBERS = ("0", "1", "2", "3", "7", "8", "16", "64", "256", "1024", "4096", "1e6", "0.5", "0.1", "1e-9", "1e12", "-2")
_SIGNS = (",", ":", "*", "/", " ", "=", "@", "+", "-", ".", "e", "x")
_WORDS = (
    "ms",
    "s",
    "USD/h",
    "CNY/h",
    "GB",
    "GiB",
    "TB/s",
    "req/s",
    "%",
    "k",
    "M",
    "h800-sxm",
    "h20-96g,h800-sxm",
    "fp8",
    "bf16",
    "deepseek-v3",
    "none",
    "all",
    "auto",
    "balanced",
    "lognormal:0.8",
    "{scenario}",
    "{loads}",
    "{trace}",
)


def drawn(verb: str, rng: random.Random) -> tuple[str, ...]:
    """The verb's own command line with one or two options whose values are drawn: numbers, units, names, lists."""
    argv = [verb, *BASE.get(verb, ())]
    for action in rng.choices(options(verb), k=rng.choice((1, 2, 2))):
        value = _value(action, rng)
        if action.option_strings:
            argv.append(value if value.startswith("{") else f"{action.option_strings[-1]}={value}")
        elif len(argv) > 1:
            argv[1] = value
    return tuple(argv)


def _value(action: argparse.Action, rng: random.Random) -> str:
    if action.choices and rng.random() < 0.6:
        return str(rng.choice(list(action.choices)))
    if rng.random() < 0.2:
        return rng.choice(VALUES)
    pieces = [rng.choice(_NUMBERS)]
    while rng.random() < 0.6:
        pieces.append(rng.choice(rng.choice((_SIGNS, _NUMBERS, _WORDS))))
    return "".join(pieces)


def asked(argv: Sequence[str], names: dict[str, str]) -> list[str]:
    return [names.get(part.strip("{}"), part) if part.startswith("{") else part.replace("\0", "") for part in argv]


def parsed(argv: Sequence[str]) -> bool:
    """Whether argparse and the types of the options take the command line; BadInput is the one other outcome."""
    from costsim.errors import BadInput
    from fuzz.oracle import check_line, limited

    try:
        with limited(5.0):
            parser_of(argv[0]).parse_intermixed_args(list(argv[1:]))
        return True
    except BadInput as error:
        check_line(" ".join(argv)[:80], str(error))
        return False
    except SystemExit:
        return False


def alone(argv: list[str], folder: Path) -> str:
    """Run one command line in a child of this process; "" or what was wrong with it."""
    note = folder / "note"
    note.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S + 20, LIMIT_S + 20))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
        try:
            run(argv[0], argv, LIMIT_S)
            os._exit(0)
        except Finding as finding:
            note.write_text(str(finding), encoding="utf-8", errors="replace")
        except BaseException as error:
            note.write_text(repr(error), encoding="utf-8", errors="replace")
        os._exit(1)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return ""
    if note.is_file():
        return note.read_text(encoding="utf-8", errors="replace") or "no word"
    return (
        f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"ended with {os.WEXITSTATUS(status)}"
    )


class Run:
    """Counts command lines and what was wrong with them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._names = folder, files(folder)
        self.count, self.found, self.start = 0, Counter[str](), time.monotonic()

    def warm(self, verb: str) -> None:
        """Ask once in this process: what is imported and read here is there in every child."""
        if verb not in PARSED_ONLY:
            with contextlib.suppress(Finding), contextlib.chdir(self._folder):
                run(verb, asked((verb, *BASE.get(verb, ())), self._names), 120.0)

    def __call__(self, argv: Sequence[str]) -> float:
        """Processor seconds of one command line."""
        self.count += 1
        words = asked(argv, self._names)
        if words[0] in PARSED_ONLY:
            parsed(words)
            return 0.0
        began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        wrong = alone(words, self._folder)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began
        if spent > SLOW_S:
            print(f"   {spent:.1f} s: {' '.join(words)[:120]!r}", flush=True)
        if wrong:
            key = wrong.splitlines()[0][:160]
            self.found[key] += 1
            if self.found[key] == 1:
                print(
                    f"   {' '.join(words)[:200]!r}\n      {wrong[-1500:].encode('ascii', 'replace').decode()}",
                    flush=True,
                )
        return spent

    def summary(self) -> str:
        minutes = (time.monotonic() - self.start) / 60
        return f"{self.count:,} command lines, {minutes:.1f} minutes, {len(self.found)} kinds of finding"


def main() -> int:
    given = argparse.ArgumentParser(prog="python -m fuzz.options", description=__doc__)
    given.add_argument("verbs", nargs="*", help="default: all")
    given.add_argument("--every", type=int, default=1, help="only every so many of the listed values (1)")
    given.add_argument("--drawn", type=int, default=0, help="and so many drawn command lines of each verb (0)")
    given.add_argument("--seed", type=int, default=0)
    args = given.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the finally below
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="fz-") as name:
        tried = Run(Path(name))
        try:
            for verb in args.verbs or VERBS:
                tried.warm(verb)
                before = tried.count
                lines = [*list(cases(verb))[args.seed % args.every :: args.every],
                         *(drawn(verb, rng) for _ in range(args.drawn))]  # fmt: skip
                slowest = max(map(tried, lines), default=0.0)
                print(f"{verb:<12} {tried.count - before:>6} command lines, slowest {slowest:.1f} s", flush=True)
        finally:
            print(tried.summary(), flush=True)
    return 1 if tried.found else 0


if __name__ == "__main__":
    sys.exit(main())
