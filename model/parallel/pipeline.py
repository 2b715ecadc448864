"""Pipeline parallelism: layers split into stages, micro-batches passed along, in 1F1B or DualPipe order.

An order is a list of actions per rank, made without running anything. The runner executes any order: it receives what
an action needs, computes, and sends the result on. Sends never block, and every link carries its messages in the order
of micro-batches, so a valid order cannot deadlock and needs no tags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.losses import cross_entropy
from model.transformer import DeepSeek


class Action(NamedTuple):
    """``F`` or ``B`` of one micro-batch on this rank's stage of a direction: 0 runs down the ranks, 1 up."""

    kind: Literal["F", "B"]
    micro: int
    direction: int = 0


def one_f_one_b(rank: int, ranks: int, micros: int) -> list[Action]:
    """Warm up with one forward per rank behind, then alternate, then drain [megatron-1f1b, section 2.2]."""
    warm = min(ranks - 1 - rank, micros)
    order = [Action("F", m) for m in range(warm)]
    for m in range(micros - warm):
        order += [Action("F", warm + m), Action("B", m)]
    return order + [Action("B", m) for m in range(micros - warm, micros)]


def dualpipe(rank: int, ranks: int, micros: int) -> list[Action]:
    """Micro-batches fed from both ends at once, half in each direction [deepseek-v3-report, section 3.2.1; dualpipe].

    Every rank holds stage ``rank`` of direction 0 and stage ``ranks − 1 − rank`` — the layers of its mirror rank — of
    direction 1. A forward of one direction meets a backward of the other, which is where communication hides. Needs an
    even number of ranks and an even number of at least 2 × ranks micro-batches. Each backward is whole: the split into
    input and weight gradients, which shortens the drain, is left out.
    """
    if ranks % 2 or micros % 2 or micros < 2 * ranks:
        raise ValueError(
            f"dualpipe needs even ranks and at least 2 × ranks even micro-batches, not {ranks} and {micros}"
        )
    half, near = micros // 2, min(rank, ranks - 1 - rank)
    first = 0 if rank < ranks // 2 else 1  # the direction that starts at this rank's end
    done = {"F": [0, 0], "B": [0, 0]}
    order: list[Action] = []

    def add(kind: Literal["F", "B"], phase: int) -> None:
        direction = first ^ phase
        order.append(Action(kind, direction * half + done[kind][direction], direction))
        done[kind][direction] += 1

    inner = ranks // 2 - near - 1
    for _ in range(2 * inner):
        add("F", 0)
    for _ in range(near + 1):
        add("F", 0)
        add("F", 1)
    for _ in range(inner):
        add("B", 1)
        add("F", 1)
    for _ in range(half - ranks + near + 1):
        add("F", 0)
        add("B", 1)
        add("F", 1)
        add("B", 0)
    for _ in range(inner):
        add("B", 1)
        add("F", 1)
        add("B", 0)
    for _ in range(near + 1):
        add("B", 1)
        add("B", 0)
    for _ in range(inner):
        add("B", 0)
    return order


class Stage(nn.Module):
    """Consecutive layers of a model, with the embedding in front of the first and norm and head behind the last."""

    def __init__(self, whole: DeepSeek, stage: int, stages: int) -> None:
        super().__init__()
        bounds = [round(i * len(whole.blocks) / stages) for i in range(stages + 1)]
        self.rope, self.blocks = whole.rope, whole.blocks[bounds[stage] : bounds[stage + 1]]
        self.embed = whole.embed if stage == 0 else None
        self.norm, self.head = (whole.norm, whole.head) if stage == stages - 1 else (None, None)
        self.hidden = whole.config.hidden

    def forward(self, x: Tensor) -> Tensor:
        """Token ids [B, T] on the first stage, hidden states [B, T, hidden] elsewhere; logits from the last."""
        if self.embed is not None:
            x = self.embed(x)
        rotation = self.rope(0, x.shape[1], x.device)
        for block in self.blocks:
            x = block(x, rotation)
        return x if self.head is None else self.head(self.norm(x))


@dataclass
class _Lane:
    """One direction of this rank: its stage, its neighbours, and what is under way."""

    stage: Stage
    before: int | None
    after: int | None
    links: dict[str, dist.ProcessGroup]
    inputs: dict[int, Tensor] = field(default_factory=dict)
    outputs: dict[int, Tensor] = field(default_factory=dict)


class Pipeline:
    """Runs ``1f1b`` or ``dualpipe`` over the default group's ranks. Make it on all of them, with equal models."""

    def __init__(self, whole: DeepSeek, schedule: Literal["1f1b", "dualpipe"] = "1f1b") -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.make: Callable[[int, int, int], list[Action]] = {"1f1b": one_f_one_b, "dualpipe": dualpipe}[schedule]
        # One group per link and direction of travel keeps messages in order on every backend.
        links = [{kind: dist.new_group() for kind in "FB"} for _ in range(2 if schedule == "dualpipe" else 1)]
        down, up = self.rank + 1, self.rank - 1
        below, above = (down if down < self.ranks else None), (up if up >= 0 else None)
        self.lanes = [_Lane(Stage(whole, self.rank, self.ranks), above, below, links[0])]
        if schedule == "dualpipe":
            mirror = Stage(whole, self.ranks - 1 - self.rank, self.ranks)
            self.lanes.append(_Lane(mirror, below, above, links[1]))
        self.pending: list[tuple[dist.Work, Tensor]] = []

    def parameters(self) -> list[nn.Parameter]:
        """What this rank trains, each once."""
        return list(dict.fromkeys(p for lane in self.lanes for p in lane.stage.parameters()))

    def step(self, ids: Tensor, micros: int) -> float:
        """Gradients of the mean next-token loss of ids [B, T], which every rank gives alike; the loss, on all ranks."""
        batches = ids.chunk(micros)
        if len(batches) != micros or len({len(b) for b in batches}) > 1:
            raise ValueError(f"{len(ids)} sequences do not divide into {micros} micro-batches")
        loss = torch.zeros((), device=ids.device)
        for action in self.make(self.rank, self.ranks, micros):
            if action.kind == "F":
                loss += self._forward(action, batches[action.micro], micros)
            else:
                self._backward(action)
        for work, _ in self.pending:
            work.wait()
        self.pending.clear()
        if len(self.lanes) == 2:
            self._add_mirrors()
        dist.all_reduce(loss)
        return loss.item()

    def _forward(self, action: Action, ids: Tensor, micros: int) -> Tensor:
        """Run the stage; the micro-batch's share of the mean loss on the last stage, zero elsewhere."""
        lane = self.lanes[action.direction]
        if lane.before is None:
            x = ids
        else:
            shape, kind = (*ids.shape, lane.stage.hidden), next(lane.stage.parameters()).dtype
            x = self._receive(shape, kind, ids.device, lane.before, lane.links["F"]).requires_grad_()
        lane.inputs[action.micro], y = x, lane.stage(x)
        if lane.after is not None:
            self._send(y.detach(), lane.after, lane.links["F"])
            lane.outputs[action.micro] = y
            return torch.zeros((), device=ids.device)
        lane.outputs[action.micro] = loss = cross_entropy(y[:, :-1], ids[:, 1:]) / micros
        return loss.detach()

    def _backward(self, action: Action) -> None:
        """Take the gradient of the stage's output, leave that of its input."""
        lane = self.lanes[action.direction]
        x, y = lane.inputs.pop(action.micro), lane.outputs.pop(action.micro)
        if lane.after is None:
            y.backward()
        else:
            y.backward(self._receive(y.shape, y.dtype, y.device, lane.after, lane.links["B"]))
        if lane.before is not None:
            self._send(x.grad, lane.before, lane.links["B"])

    def _send(self, x: Tensor, to: int, link: dist.ProcessGroup) -> None:
        x = x.contiguous()
        self.pending.append((dist.isend(x, to, group=link), x))

    @staticmethod
    def _receive(
        shape: tuple[int, ...], dtype: torch.dtype, place: torch.device, source: int, link: dist.ProcessGroup
    ) -> Tensor:
        x = torch.empty(shape, dtype=dtype, device=place)
        dist.recv(x, source, group=link)
        return x

    def _add_mirrors(self) -> None:
        """Both ranks that hold a stage saw half of the micro-batches: each adds the other's gradients."""
        mirror = self.ranks - 1 - self.rank
        link = self.lanes[0].links["F"]
        for lane in self.lanes if self.rank < mirror else reversed(self.lanes):
            for p in lane.stage.parameters():
                mine = torch.zeros_like(p) if p.grad is None else p.grad
                theirs = torch.empty_like(mine)
                work = dist.isend(mine.contiguous(), mirror, group=link)
                dist.recv(theirs, mirror, group=link)
                work.wait()
                p.grad = mine + theirs
