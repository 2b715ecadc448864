"""Experiments on the runnable model that public claims rest on, run once and stored with their date.

``python -m model.experiments --out hwprofiles/experiments.json`` runs them (about a minute on one core).
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from costsim.files import write
from model.accumulation import experiment
from model.balance import WAYS, run

#: lengths of the reduced dimension: 4,096 is the one the report names [deepseek-v3-report, section 3.3.2]
LENGTHS = (512, 1024, 2048, 4096)
STEPS = 400


def accumulation() -> dict[str, Any]:
    """Errors of FP8 products by length, centred operands and operands that share a sign."""
    return {f"mean_{mean:g}": [asdict(experiment(k, mean=mean)) for k in LENGTHS] for mean in (0.0, 1.0)}


def balance(steps: int = STEPS) -> dict[str, Any]:
    """Imbalance and loss of the three ways, every fifth step."""
    found = {way: run(way, steps) for way in WAYS}
    return {
        way: {
            "final_imbalance": one.final_imbalance, "final_loss": one.final_loss,
            "steps": list(range(0, steps, 5)), "imbalance": list(one.imbalance[::5]),
        }
        for way, one in found.items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="write the results to this JSON file; default: standard output")
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "command": "python -m model.experiments",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "accumulation": accumulation(),
        "balance": balance(),
    }
    text = json.dumps(result, indent=1) + "\n"
    if given.out is None:
        sys.stdout.write(text)
    else:
        write(Path(given.out), text)


if __name__ == "__main__":
    main()
