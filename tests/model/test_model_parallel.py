"""Two ranks equal one: data, expert, tensor and pipeline parallelism over gloo; and the pipeline orders alone."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")

import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

import model  # noqa: E402
from model.losses import training_losses  # noqa: E402
from model.parallel import data, expert, tensor  # noqa: E402
from model.parallel.group import exchange_rows  # noqa: E402
from model.parallel.pipeline import Action, Pipeline, dualpipe, one_f_one_b  # noqa: E402
from model.training import update_biases  # noqa: E402

CONFIG = model.DeepSeekConfig(layers=4, mtp_layers=1, init_std=0.1)
IDS = (torch.arange(8 * 12).view(8, 12) * 37 + torch.arange(8)[:, None] ** 2) % 256


def fresh(**changes):
    torch.manual_seed(5)
    return model.DeepSeek(CONFIG.with_(**changes))


def alone(mtp=True, ids=IDS):
    """Loss and gradients by name on one rank."""
    module = fresh(**({} if mtp else {"mtp_layers": 0}))
    loss = training_losses(module, ids).total
    loss.backward()
    update_biases(module, 0.01)
    return loss, {name: p.grad for name, p in module.named_parameters() if p.grad is not None}, module


def close(found, expected, name):
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-6, msg=lambda m: f"{name}: {m}")


def check_data(rank):
    _, expected, reference = alone()
    torch.manual_seed(rank)
    module = model.DeepSeek(CONFIG)
    if rank == 0:
        module.load_state_dict(fresh().state_dict())
    data.replicate(module)
    training_losses(module, IDS.chunk(2)[rank]).total.backward()
    data.average_gradients(module.parameters())
    for name, p in module.named_parameters():
        close(p.grad, expected.get(name, torch.zeros_like(p)), name)
    update_biases(module, 0.01, data.sum_load)
    for mine, theirs in zip(module.routers(), reference.routers(), strict=True):
        assert torch.equal(mine.bias, theirs.bias)


def check_expert(rank):
    _, expected, _ = alone()
    with torch.no_grad():
        logits = fresh()(IDS.chunk(2)[rank])
    module = expert.distribute_experts(fresh())
    with torch.no_grad():
        close(module(IDS.chunk(2)[rank]), logits, "logits")
    training_losses(module, IDS.chunk(2)[rank]).total.backward()
    expert.synchronise_gradients(module)
    half = CONFIG.experts // 2
    for name, p in module.named_parameters():
        whole = expected.get(name.replace("experts.local", "experts"), torch.zeros(1))
        if "experts.local" in name:
            whole = whole[rank * half : (rank + 1) * half]
        close(p.grad, whole.expand_as(p), name)
    # A rank without tokens for the other's experts, and one without tokens at all.
    part = module.blocks[1].ffn.experts
    x, chosen = torch.randn(3 if rank == 0 else 0, 64), torch.zeros(3 if rank == 0 else 0, 1, dtype=torch.long)
    y = part(x, chosen, torch.ones(len(x), 1))
    assert y.shape == x.shape


def check_tensor(rank):
    loss, expected, _ = alone()
    module = tensor.split(fresh())
    found = training_losses(module, IDS).total
    close(found, loss, "loss")
    found.backward()
    shards = tensor.split(fresh_with(expected))
    for (name, p), (_, whole) in zip(module.named_parameters(), shards.named_parameters(), strict=True):
        close(torch.zeros_like(p) if p.grad is None else p.grad, whole.detach(), name)


def fresh_with(gradients):
    """A model whose parameters are these gradients, to be split like parameters."""
    module = fresh()
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(gradients[name]) if name in gradients else p.zero_()
    return module


def check_pipeline(rank, schedule):
    loss, expected, _ = alone(mtp=False)
    module = fresh(mtp_layers=0)
    names = {id(p): name for name, p in module.named_parameters()}
    pipeline = Pipeline(module, schedule)
    assert pipeline.step(IDS, micros=8 if schedule == "dualpipe" else 4) == pytest.approx(loss.item(), rel=1e-5)
    held = pipeline.parameters()
    whole = schedule == "dualpipe" and dist.get_world_size() == 2  # two stages of two: everything
    assert (len(held) == len(names)) == whole
    for p in held:
        close(p.grad, expected[names[id(p)]], names[id(p)])


def check_exchange(rank):
    x = torch.full((3, 4), float(rank + 1)).to(torch.float8_e4m3fn)
    sizes = ([1, 2], [1, 2]) if rank == 0 else ([2, 1], [2, 1])
    out = exchange_rows(x, *sizes)
    expected = {0: [1, 2, 2], 1: [1, 1, 2]}[rank]
    assert out.float()[:, 0].tolist() == expected


def worker(rank, name, address, ranks, arguments):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=ranks)
    globals()[name](rank, *arguments)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ranks", "arguments"),
    [
        ("check_data", 2, ()),
        ("check_expert", 2, ()),
        ("check_tensor", 2, ()),
        ("check_pipeline", 2, ("1f1b",)),
        ("check_pipeline", 2, ("dualpipe",)),
        ("check_pipeline", 4, ("dualpipe",)),
        ("check_exchange", 2, ()),
    ],
    ids=["data", "expert", "tensor", "1f1b", "dualpipe", "dualpipe on four", "fp8 rows"],
)
def test_ranks_equal_one(name, ranks, arguments, tmp_path):
    mp.spawn(worker, (name, str(tmp_path / "meet"), ranks, arguments), nprocs=ranks)


def run_order(make, ranks, micros):
    """Play the orders against each other, one action per rank per tick; ticks needed, and most micro-batches held."""
    orders = [make(r, ranks, micros) for r in range(ranks)]
    done, at, ticks, held = set(), [0] * ranks, 0, [0] * ranks
    while any(at[r] < len(orders[r]) for r in range(ranks)):
        ready = []
        for r in range(ranks):
            if at[r] == len(orders[r]):
                continue
            a = orders[r][at[r]]
            step, first, last = (1, 0, ranks - 1) if a.direction == 0 else (-1, ranks - 1, 0)
            if a.kind == "F":
                needs = None if r == first else ("F", a.micro, r - step)
            else:
                needs = ("F", a.micro, r) if r == last else ("B", a.micro, r + step)
            if needs is None or needs in done:
                ready.append((r, a))
        assert ready, "deadlock"
        for r, a in ready:
            done.add((a.kind, a.micro, r))
            at[r] += 1
            held[r] = max(held[r], sum(1 if x.kind == "F" else -1 for x in orders[r][: at[r]]))
        ticks += 1
    return ticks, held


@pytest.mark.parametrize(("ranks", "micros"), [(1, 3), (2, 4), (4, 8), (4, 2), (8, 20)])
def test_1f1b_has_its_bubble(ranks, micros):
    ticks, held = run_order(one_f_one_b, ranks, micros)
    assert ticks == 2 * (micros + ranks - 1)
    assert held == [min(micros, ranks - r) for r in range(ranks)]


@pytest.mark.parametrize(("ranks", "micros"), [(2, 4), (4, 8), (4, 20), (8, 16), (8, 40)])
def test_dualpipe_is_complete_and_shorter(ranks, micros):
    for r in range(ranks):
        order = dualpipe(r, ranks, micros)
        assert len(order) == len(set(order)) == 2 * micros
        for direction in (0, 1):
            for kind in "FB":
                sequence = [a.micro for a in order if a.direction == direction and a.kind == kind]
                assert sequence == list(range(direction * micros // 2, (direction + 1) * micros // 2))
    ticks, held = run_order(dualpipe, ranks, micros)
    # A stage of 1F1B holds half the layers per action of a rank with two stages, so ticks compare as they are.
    assert ticks < run_order(one_f_one_b, ranks, micros)[0] or ranks == 2
    assert max(held) <= ranks + 1


def test_dualpipe_refuses_what_it_cannot_order():
    for ranks, micros in ((3, 8), (4, 6), (4, 9)):
        with pytest.raises(ValueError, match="dualpipe needs"):
            dualpipe(0, ranks, micros)
    assert dualpipe(0, 2, 4)[0] == Action("F", 0, 0)
    assert copy.copy(Action("F", 1)).direction == 0
