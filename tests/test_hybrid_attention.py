"""Attention that is not plain: gated delta rule beside it, a scorer that picks tokens, 4-bit checkpoints by part."""

from __future__ import annotations

import pytest

from costsim.errors import BadInput
from costsim.physics.delta import state_bytes
from costsim.physics.layout import attention_dtype, ffn_dtype
from costsim.physics.memory import weight_bytes_per_rank
from costsim.physics.parameters import kv_bytes_per_token, parameters
from costsim.predict.phases import Answer, Setting, decode, prefill, setting_for
from costsim.predict.training import predict_training
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingPlan, TrainingLoad, TrainingPlan

QWEN, GLM, H200 = "qwen3.5-397b-a17b", "glm-5", "h200-sxm"


def setting(model: str, **plan: object) -> Setting:
    return setting_for(load_model(model), load_accelerator(H200), ServingPlan(**plan))  # type: ignore[arg-type]


def seconds(answer: Answer, name: str) -> float:
    return sum(float(t.total_s) for t in answer.phase.ops if t.item.name == name)


# -- gated delta rule ---------------------------------------------------------------------------------------------


def test_published_size_of_qwen() -> None:
    """397 B with the vision tower, 17 B active."""
    p = parameters(load_model(QWEN))
    assert p.total / 1e9 == pytest.approx(397, rel=0.005)
    assert p.active / 1e9 == pytest.approx(17, rel=0.03)


def test_one_layer_in_four_keeps_keys() -> None:
    model = load_model(QWEN)
    assert (model.cached_layers, model.linear_layers) == (15, 45)
    assert kv_bytes_per_token(model, "bf16") == 15 * 2 * 2 * 256 * 2
    assert state_bytes(model) == pytest.approx(64 * 128 * 128 * 4 + 3 * 12288 * 2)


@pytest.mark.parametrize(("batch", "table_us"), [(1, 4.2), (16, 6.6), (64, 16.3), (128, 38.6), (256, 71.5)])
def test_decode_states_are_the_kernel_tables(batch: int, table_us: float) -> None:
    """One layer's recurrent kernel on 8 heads of an H200 [aiconfigurator-core 0.12.0, gdn, SGLang 0.5.14]."""
    answer = decode(setting(QWEN, gpus=8, tp=8), DecodeLoad(1000.0, batch / 8))
    assert seconds(answer, "delta rule") / 45 * 1e6 == pytest.approx(table_us, rel=0.5)


@pytest.mark.parametrize(("prompts", "isl", "table_us"), [(8, 1024, 140.0), (8, 2048, 277.0), (8, 8192, 1115.0)])
def test_prefill_of_states_is_the_kernel_tables(prompts: int, isl: int, table_us: float) -> None:
    answer = prefill(setting(QWEN, gpus=8, tp=8), PrefillLoad(float(isl), prompts * isl / 8))
    assert seconds(answer, "delta rule") / 45 * 1e6 == pytest.approx(table_us, rel=0.3)


def test_states_do_not_grow_with_context() -> None:
    near, far = (decode(setting(QWEN, gpus=8, tp=8), DecodeLoad(c, 4.0)) for c in (1024.0, 65536.0))
    assert seconds(near, "delta rule") == seconds(far, "delta rule")
    assert seconds(near, "attention") < seconds(far, "attention")


def test_training_says_that_it_has_no_linear_attention() -> None:
    with pytest.raises(BadInput, match="linear attention"):
        predict_training(load_model(QWEN), load_accelerator(H200), TrainingPlan(64, ep=8), TrainingLoad(4096, 64))


# -- a scorer that picks tokens -----------------------------------------------------------------------------------


def test_published_size_of_glm() -> None:
    assert parameters(load_model(GLM)).total / 1e9 == pytest.approx(744, rel=0.001)


def module_us(answer: Answer) -> float:
    """Microseconds of one layer's attention with its projections: what the module tables time."""
    other = ("ffn norm", "router", "top-k choice", "quantise ffn input")
    parts = (t for t in answer.phase.ops if t.item.part == "attention" and t.item.name not in other)
    return sum(float(t.total_s) for t in parts) / 78 * 1e6


@pytest.mark.parametrize(
    ("batch", "context", "table_us"), [(8, 1024, 76.0), (8, 8192, 96.0), (16, 8192, 104.0), (64, 1024, 104.0)]
)
def test_sparse_decode_is_the_module_tables(batch: int, context: int, table_us: float) -> None:
    """GLM-5 on 8 heads a rank, BF16 cache, FP8 projections [aiconfigurator-core 0.12.0, dsa, SGLang 0.5.14]."""
    answer = decode(setting(GLM, gpus=8, tp=8), DecodeLoad(float(context), batch / 8))
    assert module_us(answer) == pytest.approx(table_us, rel=0.25)


@pytest.mark.parametrize(("isl", "table_us"), [(4096, 2627.0), (8192, 5163.0)])
def test_sparse_prefill_is_the_module_tables(isl: int, table_us: float) -> None:
    answer = prefill(setting(GLM, gpus=8, tp=8), PrefillLoad(float(isl), isl / 8))
    assert module_us(answer) == pytest.approx(table_us, rel=0.25)


def test_short_prompts_run_dense_and_long_contexts_cost_no_more_attention() -> None:
    short = prefill(setting(GLM, gpus=8, tp=8), PrefillLoad(1024.0, 128.0))
    assert seconds(short, "index scores") == seconds(short, "attention (sparse)") == 0.0
    near, far = (decode(setting(GLM, gpus=8, tp=8), DecodeLoad(c, 2.0)) for c in (2048.0, 65536.0))
    assert seconds(near, "attention") == pytest.approx(seconds(far, "attention"))
    assert seconds(near, "index scores") < seconds(far, "index scores")


# -- 4-bit checkpoints --------------------------------------------------------------------------------------------


def test_what_four_bit_checkpoints_quantise() -> None:
    """NVFP4 and INT4 of MoE models leave attention in BF16, INT4 shared experts too; dense models are 4-bit whole."""
    sparse, dense = load_model("deepseek-v3"), load_model("llama-3.1-70b")
    assert attention_dtype(sparse, "fp4") == attention_dtype(sparse, "w4") == "bf16"
    assert (ffn_dtype(sparse, "fp4"), ffn_dtype(sparse, "w4")) == ("fp4", "bf16")
    assert attention_dtype(dense, "fp4") == "fp4"
    assert attention_dtype(sparse, "fp8") == "fp8"


@pytest.mark.parametrize(
    ("model", "precision", "published_gb"), [("deepseek-r1", "fp4", 394.0), ("kimi-k2.5", "w4", 595.0)]
)
def test_four_bit_weights_are_the_published_checkpoints(model: str, precision: str, published_gb: float) -> None:
    """DeepSeek-R1-0528 in NVFP4 takes 394 GB and Kimi-K2.5 in INT4 595 GB on Hugging Face, within 10 %
    (Kimi's scales are for 32 weights each, counted here for 128).
    """
    s = setting(model, gpus=8, tp=8, precision="bf16")
    layout = type(s.layout)(**{**s.layout.__dict__, "precision": precision, "tp": 1.0, "moe_tp": 1.0})
    assert float(weight_bytes_per_rank(s.model, layout, False)) / 1e9 == pytest.approx(published_gb, rel=0.10)
