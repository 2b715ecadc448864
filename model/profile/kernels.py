"""The kernels that a call of the model starts, by a run on fake tensors: shapes flow, no memory and no arithmetic.

Matrix products and fused attention are compulsory work that :mod:`costsim.physics` counts; everything else is what this
implementation adds around them. A region that a micro-benchmark times as one kernel (expert loop, attention core) is
marked, so that its small kernels are not counted twice.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from model import attention, moe

#: aten names by what the kernel is bound by; what is in none of them streams
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
_FUSED = ("_scaled_dot_product",)
_REDUCING = ("rms_norm", "softmax", "sum", "mean", "norm", "amax", "amin", "max", "logsumexp", "nll_loss", "cumsum")
_SORTING = ("topk", "sort", "argsort", "bincount")
_MOVING = ("cat", "index", "gather", "scatter", "embedding", "pad", "clone", "stack", "select_backward",
           "slice_backward", "masked_fill", "where")  # fmt: skip
_EXPONENTIAL = ("silu", "sigmoid", "exp", "log", "sqrt", "rsqrt")
#: neither data nor a kernel
_FREE = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "detach", "alias", "lift_fresh",
         "is_same_size", "_local_scalar_dense", "_unsafe_view", "prim", "resize_", "set_", "record_stream")  # fmt: skip


#: (bytes of traffic since the last touch, read | changed | written) → seconds per byte beyond warm data
Penalty = Callable[[float, str], float]


@dataclass(frozen=True)
class Kernel:
    """One kernel: ``pattern`` is product, attention, or one of the memory patterns; ``inside`` the marked region.

    ``bytes`` are its tensors, read once and written once; ``cold_s`` is what it costs that some were last touched long
    ago. ``flop``: two per multiply-add of products and attention.
    """

    name: str
    pattern: str
    bytes: float
    flop: float = 0.0
    cold_s: float = 0.0
    inside: str = ""


@dataclass(frozen=True)
class Listing:
    """All kernels of one call, each with how often it runs, and the views, which cost the host a little."""

    kernels: dict[Kernel, int]
    views: int

    def total(self, pattern: str) -> float:
        """FLOPs of one pattern, all regions."""
        return sum(kernel.flop * n for kernel, n in self.kernels.items() if kernel.pattern == pattern)


class _Recorder(TorchDispatchMode):
    """Sees every operation of the fake run; answers what needs data (routing) with balanced experts."""

    def __init__(self, penalty: Penalty | None) -> None:
        super().__init__()
        self.penalty, self.clock = penalty, 0.0
        self.touched: dict[int, float] = {}
        self.freed: dict[int, list[float]] = {}
        self.kernels: Counter[Kernel] = Counter()
        self.views = 0
        self.inside = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name == "bincount":
            self._note(name, args[0].numel() * args[0].element_size(), 0.0, 0.0)
            return _balanced(args[0].numel(), max(kwargs.get("minlength", 0), args[2] if len(args) > 2 else 0))
        if name == "_local_scalar_dense":
            return 1.0 if args[0].is_floating_point() else 0
        out = func(*args, **kwargs)
        if name.startswith(_FREE):
            return out
        if _is_view(func):
            self.views += 1
            return out
        moved = _moved(name, args, kwargs, out)
        self._note(name, moved, _flop(name, args), self._cold_s(args, kwargs, out) if self.penalty else 0.0)
        return out

    def _note(self, name: str, moved: float, flop: float, cold_s: float) -> None:
        self.clock += moved
        self.kernels[Kernel(name, pattern_of(name), moved, flop, cold_s, self.inside)] += 1

    def _cold_s(self, args: Any, kwargs: Any, out: Any) -> float:
        """What operands cost that other traffic may have driven out of the caches, and results in memory long unused.

        A result takes the place of the last freed block of its size, as allocators reuse them.
        """
        assert self.penalty is not None
        cold, seen = 0.0, set()
        results = [x for x in tree_flatten(out)[0] if isinstance(x, Tensor)]
        changed = {x.untyped_storage()._cdata for x in results}
        for x in tree_flatten((args, kwargs))[0]:
            if isinstance(x, Tensor):
                key = x.untyped_storage()._cdata
                seen.add(key)
                since = self.clock - self.touched.get(key, self.clock)
                cold += _size(x) * self.penalty(since, "changed" if key in changed else "read")
                self.touched[key] = self.clock
        for x in results:
            if x.untyped_storage()._cdata in seen:
                continue
            size = x.untyped_storage().nbytes()
            free = self.freed.get(size)
            since = free.pop() if free else self.clock
            cold += _size(x) * self.penalty(self.clock - since, "written")
            key = x.untyped_storage()._cdata
            self.touched[key] = self.clock
            weakref.finalize(x, self._free, key, size)
        return cold

    def _free(self, key: int, size: int) -> None:
        self.freed.setdefault(size, []).append(self.touched.get(key, self.clock))


def _balanced(pairs: int, experts: int) -> Tensor:
    """Rows per expert when ``pairs`` fall as evenly as whole rows can; a real tensor, so that its values are known."""
    with torch._C._DisableTorchDispatch():
        spread = torch.full((experts,), pairs // experts)
        spread[: pairs % experts] += 1
    return spread


def pattern_of(name: str) -> str:
    """product, attention, stream, update (in place), exp, norm (a reduction), strided (another order), sort."""
    bare = name.lstrip("_")
    if name in PRODUCTS:
        return "product"
    if name.startswith(_FUSED):
        return "attention"
    if name == "_to_copy":
        return "stream"
    for pattern, words in (("sort", _SORTING), ("norm", _REDUCING), ("strided", _MOVING), ("exp", _EXPONENTIAL)):
        if any(bare.startswith(word) or f"_{word}" in bare for word in words):
            return pattern
    return "update" if name.endswith("_") else "stream"


def _is_view(func: Any) -> bool:
    """Whether every output aliases an input that is not written."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _size(x: Tensor) -> float:
    """Bytes that reading or writing ``x`` touches: a broadcast dimension is one element."""
    distinct = math.prod(n for n, step in zip(x.shape, x.stride(), strict=True) if step or n == 1)
    return float(distinct * x.element_size())


def _moved(name: str, args: Any, kwargs: Any, out: Any) -> float:
    """Bytes in and out. An embedding or a gather reads what it takes, not its whole table."""
    read = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    written = [x for x in tree_flatten(out)[0] if isinstance(x, Tensor)]
    if name in ("embedding", "index_select", "gather", "index"):
        return sum(2.0 * _size(x) for x in written)
    if name in ("zeros", "ones", "full", "zero_", "fill_", "zeros_like", "ones_like", "new_zeros", "arange"):
        return sum(map(_size, written))
    if name == "copy_":
        return _size(args[0]) + _size(args[1])
    return sum(map(_size, read)) + sum(map(_size, written))


def _flop(name: str, args: Any) -> float:
    """Two per multiply-add, without the causal saving; padded value columns count, since they are multiplied."""
    if name in ("mm", "bmm"):
        return 2.0 * args[0].numel() * args[1].shape[-1]
    if name in ("addmm", "baddbmm"):
        return 2.0 * args[1].numel() * args[2].shape[-1]
    if not name.startswith(_FUSED):
        return 0.0
    tensors = [x for x in args if isinstance(x, Tensor)]
    backward = "backward" in name
    q, k, v = tensors[1:4] if backward else tensors[:3]
    pairs = 2.0 * q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    width, value = q.shape[-1], v.shape[-1]
    return pairs * (3.0 * width + 2.0 * value) if backward else pairs * (width + value)


@contextlib.contextmanager
def _marked(recorder: _Recorder) -> Iterator[None]:
    """Regions that are one kernel to the micro-benchmarks: the expert loop and the two attention cores."""
    places = ((moe.Experts, "rows", "moe"), (moe.Experts, "_one_token", "moe"), (attention, "attend", "attention"),
              (attention.MLA, "_absorbed", "attention"))  # fmt: skip
    before = [getattr(owner, name) for owner, name, _ in places]

    def wrapped(call: Callable[..., Any], mark: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            outer, recorder.inside = recorder.inside, mark
            try:
                return call(*args, **kwargs)
            finally:
                recorder.inside = outer

        return run

    try:
        for (owner, name, mark), call in zip(places, before, strict=True):
            setattr(owner, name, wrapped(call, mark))
        yield
    finally:
        for (owner, name, _), call in zip(places, before, strict=True):
            setattr(owner, name, call)


def list_kernels(build: Callable[[], Callable[[], Any]], penalty: Penalty | None = None) -> Listing:
    """The kernels of ``call`` where ``call = build()``, from its second run, when tables and states exist."""
    recorder = _Recorder(penalty)
    with FakeTensorMode(allow_non_fake_inputs=True), _marked(recorder), recorder:
        call = build()
        call()
        recorder.kernels.clear()
        recorder.views = 0
        call()
    return Listing(dict(recorder.kernels), recorder.views)
