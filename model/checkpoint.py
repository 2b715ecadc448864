"""Hugging Face checkpoint folders, apart from the model: config.json and safetensors in BF16, FP32 or block-FP8.

One table, ``layout``, maps every published tensor name to a part of one of this model's parameters. Loading and saving
are that table read in opposite directions. A folder is checked in full, from the headers, before anything is allocated.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from costsim.errors import BadInput
from costsim.files import read_json, write
from model import fp8
from model.config import DeepSeekConfig
from model.device import resolve
from model.transformer import DeepSeek

Precision = Literal["bf16", "fp32", "fp8"]
INDEX = "model.safetensors.index.json"
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp8": torch.bfloat16}
_BYTES = {"F8_E4M3": 1, "BF16": 2, "F32": 4}


#: the index of DeepSeek-V3 has 9 MB
MAX_INDEX_BYTES = 200_000_000


class CheckpointError(BadInput):
    """A checkpoint that cannot be used; the message names the tensor or the file."""


class Part(NamedTuple):
    """Where a published tensor lives: ``parameter[index]``.

    ``quantised``: FP8 in FP8 checkpoints. ``copy``: a duplicate of shared weights. ``exact``: FP32 in every checkpoint.
    """

    parameter: str
    shape: tuple[int, ...]
    index: tuple[int | slice, ...] = ()
    quantised: bool = False
    copy: bool = False
    exact: bool = False


def layout(config: DeepSeekConfig, mtp: bool = True) -> dict[str, Part]:
    """Published name → its part of this model, in checkpoint order."""
    c = config
    parts = {"model.embed_tokens.weight": Part("embed.weight", (c.vocab, c.hidden))}
    for i in range(c.layers):
        parts |= _layer(c, f"model.layers.{i}.", f"blocks.{i}.", c.is_moe(i))
    parts["model.norm.weight"] = Part("norm.weight", (c.hidden,))
    if not c.tied:
        parts["lm_head.weight"] = Part("head.weight", (c.vocab, c.hidden))
    for k in range(c.mtp_layers if mtp else 0):
        there, here = f"model.layers.{c.layers + k}.", f"mtp.{k}."
        parts[there + "embed_tokens.weight"] = Part("embed.weight", (c.vocab, c.hidden), copy=True)
        parts[there + "enorm.weight"] = Part(here + "embed_norm.weight", (c.hidden,))
        parts[there + "hnorm.weight"] = Part(here + "hidden_norm.weight", (c.hidden,))
        parts[there + "eh_proj.weight"] = Part(here + "project.weight", (c.hidden, 2 * c.hidden))
        parts[there + "shared_head.norm.weight"] = Part(here + "norm.weight", (c.hidden,))
        parts[there + "shared_head.head.weight"] = Part("head.weight", (c.vocab, c.hidden), copy=True)
        parts |= _layer(c, there, here + "block.", c.is_moe(c.layers + k))
    return parts


def _layer(c: DeepSeekConfig, there: str, here: str, moe: bool) -> dict[str, Part]:
    """One decoder layer."""
    attention = {"kv_a_proj_with_mqa": ("kv_down", (c.latent_dim, c.hidden))}
    attention["kv_b_proj"] = ("kv_up", (c.heads * (c.nope_dim + c.v_dim), c.kv_rank))
    attention["o_proj"] = ("out", (c.hidden, c.heads * c.v_dim))
    norms = {"kv_a_layernorm": ("kv_norm", c.kv_rank)}
    if c.q_rank:
        attention["q_a_proj"] = ("q_down", (c.q_rank, c.hidden))
        attention["q_b_proj"] = ("q_up", (c.heads * c.qk_dim, c.q_rank))
        norms["q_a_layernorm"] = ("q_norm", c.q_rank)
    else:
        attention["q_proj"] = ("q_up", (c.heads * c.qk_dim, c.hidden))
    parts = {
        f"{there}self_attn.{name}.weight": Part(f"{here}attention.{own}.weight", shape, quantised=True)
        for name, (own, shape) in attention.items()
    }
    for name, (own, width) in norms.items():
        parts[f"{there}self_attn.{name}.weight"] = Part(f"{here}attention.{own}.weight", (width,))
    parts[there + "input_layernorm.weight"] = Part(here + "attention_norm.weight", (c.hidden,))
    parts[there + "post_attention_layernorm.weight"] = Part(here + "ffn_norm.weight", (c.hidden,))
    if not moe:
        return parts | _mlp(c.hidden, c.intermediate, there + "mlp.", here + "ffn.", ".weight")
    parts[there + "mlp.gate.weight"] = Part(here + "ffn.router.weight", (c.experts, c.hidden))
    if c.score_bias:
        parts[there + "mlp.gate.e_score_correction_bias"] = Part(here + "ffn.router.bias", (c.experts,), exact=True)
    for e in range(c.experts):
        parts |= _mlp(c.hidden, c.expert_intermediate, f"{there}mlp.experts.{e}.", here + "ffn.experts.", "", (e,))
    if c.shared_experts:
        width = c.shared_experts * c.expert_intermediate
        parts |= _mlp(c.hidden, width, there + "mlp.shared_experts.", here + "ffn.shared.", ".weight")
    return parts


def _mlp(hidden: int, width: int, there: str, here: str, suffix: str, at: tuple[int, ...] = ()) -> dict[str, Part]:
    """Gate, up and down; ours keeps gate and up in one matrix."""
    gate, up = (*at, slice(0, width)), (*at, slice(width, None))
    return {
        there + "gate_proj.weight": Part(f"{here}gate_up{suffix}", (width, hidden), gate, quantised=True),
        there + "up_proj.weight": Part(f"{here}gate_up{suffix}", (width, hidden), up, quantised=True),
        there + "down_proj.weight": Part(f"{here}down{suffix}", (hidden, width), at, quantised=True),
    }


def manifest(
    config: DeepSeekConfig, precision: Precision = "bf16", mtp: bool = True
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every tensor that ``save_pretrained`` writes: name → (safetensors dtype, shape)."""
    plain = "F32" if precision == "fp32" else "BF16"
    listed: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, part in layout(config, mtp).items():
        if precision == "fp8" and part.quantised:
            listed[name] = ("F8_E4M3", part.shape)
            listed[name + "_scale_inv"] = ("F32", tuple(-(-size // fp8.TILE) for size in part.shape))
        else:
            listed[name] = ("F32" if part.exact else plain, part.shape)
    return listed


def from_pretrained(
    folder: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu", mtp: bool = True
) -> DeepSeek:
    """Load a checkpoint folder. FP8 weights are dequantised; ``dtype`` defaults to the checkpoint's (FP8 → BF16).

    ``mtp=False``, or a folder without them, leaves the MTP modules out. Raises CheckpointError before anything is
    allocated if a tensor is missing, unknown or misshapen, or a file is damaged, absent or pickled.
    """
    folder = Path(folder)
    config = DeepSeekConfig.from_hf(folder)
    with ExitStack() as stack:
        tensors = _open(folder, stack)
        first_mtp = f"model.layers.{config.layers}."
        if not mtp or not any(name.startswith(first_mtp) for name in tensors):
            config = config.with_(mtp_layers=0)
        parts = layout(config)
        _check(tensors, parts, config)
        with torch.device("meta"):
            module = DeepSeek(config)
        module = module.to(dtype or _stored_dtype(tensors)).to_empty(device=resolve(device))
        if config.tied:
            module.head.weight = module.embed.weight
        _fill(module, tensors, parts)
    return module.eval()


class _Stored:
    """One tensor of an open file, by its header."""

    def __init__(self, path: Path, file: Any, name: str) -> None:
        self.path, self.file, self.name = path, file, name
        header = file.get_slice(name)
        self.shape, self.dtype = tuple(header.get_shape()), header.get_dtype()

    def read(self) -> Tensor:
        try:
            return self.file.get_tensor(self.name)
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{self.name}: cannot be read from {self.path.name}: {error}") from None


def _open(folder: Path, stack: ExitStack) -> dict[str, _Stored]:
    """Headers of every tensor in the folder, checked against the index where there is one."""
    index = folder / INDEX
    if index.exists():
        wanted = _weight_map(index)
        files = sorted(set(wanted.values()))
    else:
        wanted, files = {}, sorted(path.name for path in folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl"))
        if pickled:
            raise CheckpointError(f"{pickled[0]}: pickled weights can run code and are refused; convert to safetensors")
        raise CheckpointError(f"{folder}: no safetensors file")
    tensors: dict[str, _Stored] = {}
    for file in files:
        path = folder / file
        first = next((name for name, home in wanted.items() if home == file), None)
        holds = f", which holds {first}," if first else ""
        if Path(file).name != file or not _stands(path):
            raise CheckpointError(f"{file}{holds} is named in {INDEX} but is not in the folder")
        try:
            opened = stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}{holds} is not a whole safetensors file: {error}") from None
        tensors |= {name: _Stored(path, opened, name) for name in opened.keys()}  # noqa: SIM118 — not a mapping
    for name in wanted:
        if name not in tensors:
            raise CheckpointError(f"{name}: {wanted[name]} should hold it by {INDEX} and does not")
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor → file, as the index says; a file that is no such index is refused."""
    document = read_json(index, "index", MAX_INDEX_BYTES)
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise CheckpointError(f"{index.name}: no weight_map from tensors to files in it")
    return found


def _stands(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


def _check(tensors: dict[str, _Stored], parts: dict[str, Part], config: DeepSeekConfig) -> None:
    """Names, shapes and dtypes, all of them, before any weight is read."""
    for name, part in parts.items():
        if name not in tensors:
            if part.copy:
                continue
            raise CheckpointError(f"{name}: missing from the checkpoint")
        stored = tensors[name]
        if stored.shape != part.shape:
            raise CheckpointError(f"{name}: shape {list(stored.shape)}, the configuration needs {list(part.shape)}")
        if stored.dtype not in _BYTES and stored.dtype != "F16":
            raise CheckpointError(f"{name}: dtype {stored.dtype} is not read; BF16, F16, F32 and F8_E4M3 are")
        if stored.dtype == "F8_E4M3":
            scales, shape = tensors.get(name + "_scale_inv"), [-(-size // fp8.TILE) for size in part.shape]
            if scales is None:
                raise CheckpointError(f"{name}_scale_inv: missing; {name} is FP8 and needs its block scales")
            if list(scales.shape) != shape:
                raise CheckpointError(f"{name}_scale_inv: shape {list(scales.shape)}, 128×128 blocks need {shape}")
    beyond = f"model.layers.{config.layers}."
    for name in tensors:
        base = name.removesuffix("_scale_inv")
        left_out = not config.mtp_layers and name.startswith(beyond)
        tied_head = config.tied and name == "lm_head.weight"
        if base not in parts and not left_out and not tied_head and not name.endswith("rotary_emb.inv_freq"):
            raise CheckpointError(f"{name}: not a tensor of this configuration")


def _stored_dtype(tensors: dict[str, _Stored]) -> torch.dtype:
    kinds = {"F32": torch.float32, "F16": torch.float16}
    return kinds.get(tensors["model.embed_tokens.weight"].dtype, torch.bfloat16)


@torch.no_grad()
def _fill(module: DeepSeek, tensors: dict[str, _Stored], parts: dict[str, Part]) -> None:
    own = module.state_dict(keep_vars=True)
    for name, part in parts.items():
        if part.copy:
            continue
        value = tensors[name].read()
        if value.dtype == fp8.E4M3:
            scales = tensors[name + "_scale_inv"].read().float()
            value = fp8.dequantise(fp8.Quantised(value, scales, (fp8.TILE, fp8.TILE)))
        own[part.parameter][part.index or ...].copy_(value)
    for router in module.routers():
        router.load.zero_()


def save_pretrained(
    module: DeepSeek, folder: str | Path, *, precision: Precision | None = None, shard_bytes: int = 5_000_000_000
) -> None:
    """Write config.json and safetensors; ``precision`` defaults to the module's. The index is written last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    precision = precision or ("fp32" if module.embed.weight.dtype == torch.float32 else "bf16")
    listed = manifest(module.config, precision)
    sizes = {name: _BYTES[kind] * math.prod(shape) for name, (kind, shape) in listed.items()}
    shards = _shards(sizes, shard_bytes)
    tensors = _tensors(module, precision)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        content = dict(next(tensors) for _ in names)
        save_file(content, folder / (file + ".part"), metadata={"format": "pt"})
        os.replace(folder / (file + ".part"), folder / file)  # noqa: PTH105 — atomic
        weight_map |= dict.fromkeys(content, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        write(folder / INDEX, json.dumps(index, indent=1))
    raw = module.config.to_hf() | {"torch_dtype": str(_DTYPES[precision]).removeprefix("torch.")}
    if precision == "fp8":
        raw["quantization_config"] = {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": [fp8.TILE, fp8.TILE],
        }
    write(folder / "config.json", json.dumps(raw, indent=1) + "\n")


def _tensors(module: DeepSeek, precision: Precision) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of ``manifest``, in its order."""
    own = module.state_dict()
    for name, part in layout(module.config).items():
        value = own[part.parameter][part.index or ...]
        if precision == "fp8" and part.quantised:
            q = fp8.quantise(value, (fp8.TILE, fp8.TILE))
            yield name, q.values.cpu()
            yield name + "_scale_inv", q.scales.cpu()
        else:
            dtype = torch.float32 if part.exact else _DTYPES[precision]
            yield name, value.to("cpu", dtype, copy=True).contiguous()


def _shards(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Names in order, a new shard where the next tensor would pass ``limit`` bytes."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards
