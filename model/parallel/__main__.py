"""Train a small model in parallel, to see each kind at work on the devices at hand::

torchrun --nproc-per-node 2 -m model.parallel --kind data|expert|tensor|1f1b|dualpipe [--device auto] [--steps 20]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.config import DeepSeekConfig
from model.losses import training_losses
from model.optimizer import AdamW, clip_gradients
from model.parallel import data, expert, tensor
from model.parallel.group import start, stop
from model.parallel.pipeline import Pipeline
from model.transformer import DeepSeek

KINDS = ("data", "expert", "tensor", "1f1b", "dualpipe")


def prepare(kind: str, place: torch.device) -> tuple[list[nn.Parameter], Callable[[Tensor], float]]:
    """This rank's parameters, and a function that leaves their gradients for a batch that all ranks share."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    module = DeepSeek(DeepSeekConfig(layers=max(4, ranks))).to(place)
    if kind in ("1f1b", "dualpipe"):
        pipeline = Pipeline(module, kind)  # type: ignore[arg-type]
        return pipeline.parameters(), lambda ids: pipeline.step(ids, micros=2 * ranks)
    if kind == "expert":
        expert.distribute_experts(module)
    elif kind == "tensor":
        tensor.split(module)

    def step(ids: Tensor) -> float:
        loss = training_losses(module, ids if kind == "tensor" else ids.chunk(ranks)[rank]).total
        loss.backward()
        if kind == "data":
            data.average_gradients(module.parameters())
        elif kind == "expert":
            expert.synchronise_gradients(module)
        return loss.item()

    return list(module.parameters()), step


def main() -> None:
    """Rank 0 reports."""
    parser = argparse.ArgumentParser(
        prog="model.parallel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, default="data")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    if "RANK" not in os.environ:
        parser.error("start it with torchrun: torchrun --nproc-per-node 2 -m model.parallel --kind " + options.kind)
    place = start(options.device)
    parameters, step = prepare(options.kind, place)
    optimizer = AdamW(parameters, lr=3e-3)
    draw = torch.Generator().manual_seed(1)
    for number in range(options.steps):
        ids = (torch.randint(0, 256, (8 * dist.get_world_size(), 1), generator=draw) + torch.arange(16)) % 256
        optimizer.zero_grad(set_to_none=True)
        loss = step(ids.to(place))
        if options.kind == "data":
            clip_gradients(parameters)  # elsewhere a rank sees only part of the norm
        optimizer.step()
        if dist.get_rank() == 0:
            sys.stdout.write(f"step {number:3d}  loss {loss:.3f}\n")
    stop()


if __name__ == "__main__":
    main()
