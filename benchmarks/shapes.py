"""Models of known shapes with random weights, made on the device they are measured on."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from lift_harness.models.base import DiffusionLM
from lift_harness.models.configuration_backbone import SDARConfig
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.modeling_backbone import SDARForCausalLM
from lift_harness.models.modeling_llada import LLaDAModelLM

SHAPES: dict[str, dict[str, Any]] = {
    "nano": dict(d_model=64, n_heads=4, n_layers=2, mlp_hidden_size=96, vocab_size=1000),  # to try scripts
    "small": dict(d_model=256, n_heads=4, n_layers=4, mlp_hidden_size=688, vocab_size=32000),
    "mid": dict(d_model=512, n_heads=8, n_layers=8, mlp_hidden_size=1376, vocab_size=32000),
    "1b": dict(d_model=2048, n_heads=16, n_layers=16, mlp_hidden_size=5632, vocab_size=126464),
    "8b": dict(d_model=4096, n_heads=32, n_layers=32, mlp_hidden_size=12288, vocab_size=126464),  # LLaDA-8B
}
LORA_TARGETS = ["q_proj", "k_proj", "v_proj"]  # as the paper's


def random_model(name: str, dtype: torch.dtype, device: torch.device | str, **changes: Any) -> LLaDAModelLM:
    """A model of a shape of `SHAPES` in eval mode; `changes` are of its configuration.

    The mask's id is the vocabulary's last, end of text the one before.
    """
    shape = SHAPES[name] | changes
    mask_id = shape["vocab_size"] - 1
    config = LLaDAConfig(**shape, mask_token_id=mask_id, eos_token_id=mask_id - 1, pad_token_id=mask_id - 1)
    return filled(LLaDAModelLM, config, dtype, device)


def random_block_model(
    name: str, block_size: int, dtype: torch.dtype, device: torch.device | str
) -> SDARForCausalLM:
    """The same with attention that is causal between blocks of `block_size` columns (SDAR's layers)."""
    shape = SHAPES[name]
    mask_id = shape["vocab_size"] - 1
    config = SDARConfig(
        hidden_size=shape["d_model"],
        intermediate_size=shape["mlp_hidden_size"],
        num_hidden_layers=shape["n_layers"],
        num_attention_heads=shape["n_heads"],
        num_key_value_heads=shape["n_heads"],
        head_dim=shape["d_model"] // shape["n_heads"],
        vocab_size=shape["vocab_size"],
        block_size=block_size,
        mask_token_id=mask_id,
        eos_token_id=mask_id - 1,
        pad_token_id=mask_id - 1,
    )
    return filled(SDARForCausalLM, config, dtype, device)


def filled(family: type[DiffusionLM], config: Any, dtype: torch.dtype, device: torch.device | str) -> Any:
    """A model with random weights.

    They never exist anywhere but on the device: 8B of them would take minutes to make on a CPU and to move.
    """
    with torch.device("meta"):
        model = family(config)
    model = model.to(dtype).to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02) if parameter.ndim > 1 else parameter.fill_(1)
    return model.eval()


def to_train(model: Any, lora_rank: int = 0, checkpointing: bool = False, dropout: float = 0.05) -> Any:
    """The model in training mode, with adapters of a rank (0: all weights are trained)."""
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if lora_rank:
        adapters = LoraConfig(
            r=lora_rank, lora_alpha=2 * lora_rank, lora_dropout=dropout, target_modules=LORA_TARGETS
        )
        model = get_peft_model(model, adapters)
    return model.train()


def sizes(model: Any) -> tuple[int, int]:
    """Parameters of the blocks, and of the output projection."""
    blocks = sum(p.numel() for layer in model.layers for p in layer.parameters())
    return blocks, model.config.hidden_size * model.config.vocab_size
