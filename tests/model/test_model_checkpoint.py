"""Checkpoint folders: round trips both ways, FP8, shards, and refusal of everything damaged."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the model needs torch: pip install costsim[model]")
safetensors = pytest.importorskip("safetensors.torch", reason="checkpoints are safetensors")

import model  # noqa: E402
from model.checkpoint import INDEX, manifest  # noqa: E402
from model.config import ConfigError  # noqa: E402

CONFIG = model.DeepSeekConfig(mtp_layers=1, yarn=model.Yarn(40.0, 64, mscale=1.0, mscale_all_dim=1.0))


@pytest.fixture
def module():
    made = model.DeepSeek(CONFIG).eval()
    for router in made.routers():
        router.bias.normal_(std=0.1)
    return made


@pytest.fixture
def folder(module, tmp_path):
    model.save_pretrained(module, tmp_path / "saved")
    return tmp_path / "saved"


def rewrite(folder, change):
    path = folder / "model.safetensors"
    tensors = safetensors.load_file(path)
    change(tensors)
    safetensors.save_file(tensors, path)


@torch.no_grad()
def test_round_trip_through_transformers(pair, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the reference implementation")
    reference, ours = pair
    model.save_pretrained(ours, tmp_path / "ours")
    theirs = safetensors.load_file(tmp_path / "hf" / "model.safetensors")
    saved = safetensors.load_file(tmp_path / "ours" / "model.safetensors")
    assert saved.keys() == theirs.keys()
    assert all(torch.equal(saved[name], theirs[name]) for name in saved)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    ids = torch.randint(0, 256, (1, 20))
    assert torch.equal(again(ids).logits, reference(ids).logits)


def test_round_trip_with_mtp(module, folder):
    loaded = model.from_pretrained(folder)
    assert loaded.config == CONFIG
    expected, found = module.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not model.from_pretrained(folder, mtp=False).mtp


def test_manifest_is_what_is_written(module, tmp_path):
    for precision in ("fp32", "bf16", "fp8"):
        model.save_pretrained(module, tmp_path / precision, precision=precision)
        with safetensors.safe_open(tmp_path / precision / "model.safetensors", "pt") as file:
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 — not a mapping
            found = {name: (h.get_dtype(), tuple(h.get_shape())) for name, h in headers.items()}
        assert found == manifest(CONFIG, precision)


def test_published_names_of_the_mtp_layer():
    names = manifest(CONFIG, "bf16")
    assert {"model.layers.3.eh_proj.weight", "model.layers.3.shared_head.norm.weight"} <= names.keys()
    assert {"model.layers.3.embed_tokens.weight", "model.layers.3.shared_head.head.weight"} <= names.keys()


def test_bf16_keeps_router_biases_in_float32(module, tmp_path):
    model.save_pretrained(module, tmp_path, precision="bf16")
    loaded = model.from_pretrained(tmp_path)
    assert loaded.embed.weight.dtype == torch.bfloat16
    for mine, theirs in zip(loaded.routers(), module.routers(), strict=True):
        assert mine.bias.dtype == torch.float32
        assert torch.equal(mine.bias, theirs.bias)


def test_fp8_rounds_once(module, tmp_path):
    model.save_pretrained(module, tmp_path / "a", precision="fp8")
    loaded = model.from_pretrained(tmp_path / "a", dtype=torch.float32)
    weight, rounded = module.blocks[1].attention.out.weight, loaded.blocks[1].attention.out.weight
    assert 0 < (weight - rounded).norm() / weight.norm() < 0.03
    assert torch.equal(loaded.embed.weight, module.embed.weight.bfloat16().float())
    model.save_pretrained(loaded, tmp_path / "b", precision="fp8")
    first, second = (safetensors.load_file(tmp_path / x / "model.safetensors") for x in "ab")
    assert all(torch.equal(first[name].float(), second[name].float()) for name in first if first[name].dim() == 2)
    assert model.from_pretrained(tmp_path / "a").embed.weight.dtype == torch.bfloat16


def test_shards(module, tmp_path):
    model.save_pretrained(module, tmp_path, shard_bytes=100_000)
    index = json.loads((tmp_path / INDEX).read_text())
    assert len(set(index["weight_map"].values())) > 2
    assert index["weight_map"].keys() == manifest(CONFIG, "fp32").keys()
    loaded = model.from_pretrained(tmp_path)
    assert torch.equal(loaded.mtp[0].project.weight, module.mtp[0].project.weight)
    lost = index["weight_map"]["model.norm.weight"]
    (tmp_path / lost).unlink()
    with pytest.raises(model.CheckpointError, match=lost):
        model.from_pretrained(tmp_path)


def test_tied_embedding(tmp_path):
    module = model.DeepSeek(CONFIG.with_(tied=True, mtp_layers=0)).eval()
    model.save_pretrained(module, tmp_path)
    loaded = model.from_pretrained(tmp_path)
    assert loaded.head.weight is loaded.embed.weight
    ids = torch.randint(0, 256, (1, 5))
    assert torch.equal(loaded(ids), module(ids))


NAME = "model.layers.1.mlp.experts.3.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NAME), f"{NAME}: missing"),
        (lambda t: t.update({NAME + ".extra": torch.ones(1)}), f"{NAME}.extra: not a tensor"),
        (lambda t: t.update({NAME: torch.ones(3, 5)}), rf"{NAME}: shape \[3, 5\], the configuration needs \[32, 64\]"),
        (lambda t: t.update({NAME: t[NAME].to(torch.int32)}), f"{NAME}: dtype I32"),
        (lambda t: t.update({NAME: t[NAME].to(torch.float8_e4m3fn)}), f"{NAME}_scale_inv: missing"),
    ],
    ids=["missing", "extra", "misshapen", "integer", "without scales"],
)
def test_refuses_a_wrong_tensor(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(model.CheckpointError, match=message):
        model.from_pretrained(folder)


def test_refuses_wrong_scales(module, tmp_path):
    model.save_pretrained(module, tmp_path, precision="fp8")
    rewrite(tmp_path, lambda t: t.update({NAME + "_scale_inv": torch.ones(2, 1)}))
    with pytest.raises(model.CheckpointError, match=rf"{NAME}_scale_inv: shape \[2, 1\]"):
        model.from_pretrained(tmp_path)


@pytest.mark.parametrize("kept", [0.5, 0.001], ids=["half", "head"])
def test_refuses_a_truncated_file(folder, kept):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(model.CheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
        model.from_pretrained(folder)


def test_a_truncated_shard_names_a_tensor(module, tmp_path):
    model.save_pretrained(module, tmp_path, shard_bytes=100_000)
    shard = tmp_path / json.loads((tmp_path / INDEX).read_text())["weight_map"][NAME]
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(model.CheckpointError, match=r"which holds model\."):
        model.from_pretrained(tmp_path)


def test_refuses_pickles(folder):
    state = safetensors.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(model.CheckpointError, match=r"pytorch_model\.bin: pickled weights can run code"):
        model.from_pretrained(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    with pytest.raises(model.CheckpointError, match="not a whole safetensors file"):
        model.from_pretrained(folder)


def test_refuses_an_empty_folder(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(model.CheckpointError, match="no safetensors file"):
        model.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"index_topk": 2048}, "index_topk = 2048"),
        ({"kv_lora_rank": None}, "lacks kv_lora_rank"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope type 'linear'"),
        ({"n_group": 3}, "groups 3 must divide experts 8"),
    ],
)
def test_refuses_a_foreign_config(change, message):
    with pytest.raises(ConfigError, match=message):
        model.DeepSeekConfig.from_hf(CONFIG.to_hf() | change)


def test_config_round_trip(tmp_path):
    assert model.DeepSeekConfig.from_hf(CONFIG.to_hf()) == CONFIG
    v2 = CONFIG.with_(scoring="softmax", group_score="max", score_bias=False, normalise_weights=False, mtp_layers=0)
    assert model.DeepSeekConfig.from_hf(v2.to_hf()) == v2
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        model.DeepSeekConfig.from_hf(tmp_path)
