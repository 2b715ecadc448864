"""Which activations are computed again in the backward pass: words, and lists of tensors as recipes name them."""

from __future__ import annotations

from costsim.errors import OutOfRange

#: tensors that a policy may drop after the forward pass and compute again
TENSORS = ("norm", "act", "mla_up_proj", "core_attn", "mlp", "moe")
#: what the short words stand for; "selective" is DeepSeek-V3's own policy with the activation on top
#: [deepseek-v3-report, sec. 3.2.3; megatron-selective-recompute]
WORDS = {"none": (), "selective": ("norm", "act", "mla_up_proj"), "full": ("full",), "offload": ("offload",)}
#: other spellings of the tensors
_ALIAS = {
    "rmsnorm": "norm", "layernorm": "norm", "norms": "norm", "swiglu": "act", "moe_act": "act", "activation": "act",
    "mla up-proj": "mla_up_proj", "mla_up": "mla_up_proj", "up_proj": "mla_up_proj", "mla up proj": "mla_up_proj",
    "attention": "core_attn", "core_attention": "core_attn", "moe_layer": "moe", "experts": "moe",
}  # fmt: skip


def recomputed_tensors(text: str) -> frozenset[str]:
    """Tensors named by ``none``, ``selective``, ``full`` or a list: ``norm,mla_up_proj``, "RMSNorm + MLA up-proj".

    ``mlp`` drops what a dense FFN keeps inside, ``moe`` what a routed layer does (dispatch runs again too), ``full``
    everything but each layer's input. ``offload`` computes nothing again: what does not fit waits in host memory.
    Raises BadInput for a tensor that no policy knows.
    """
    found: set[str] = set()
    for part in text.replace("+", ",").split(","):
        word = part.strip().lower()
        if not word:
            continue
        if word in WORDS:
            found.update(WORDS[word])
            continue
        name = _ALIAS.get(word, word)
        if name not in TENSORS:
            raise OutOfRange(
                f"recompute: {word[:40]!r} is not known; none, selective, full, offload, or a list of "
                f"{', '.join(TENSORS)}"
            )
        found.add(name)
    return frozenset(found)


def drops(policy: frozenset[str], tensor: str) -> bool:
    """Whether ``tensor`` is computed again under ``policy``."""
    return "full" in policy or tensor in policy
