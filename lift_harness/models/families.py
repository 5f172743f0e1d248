"""Which native model a config.json is of."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from lift_harness.models.base import DiffusionLM
from lift_harness.models.modeling_backbone import (
    A2DLlamaLMHeadModel,
    A2DQwen2LMHeadModel,
    A2DQwen3LMHeadModel,
    Fast_dLLM_QwenForCausalLM,
    ILLaDAForCausalLM,
    SDARForCausalLM,
)
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_experts import (
    LLaDA2MoeModelLM,
    LLaDAMoEModelLM,
    RenamedLLaDAMoEModelLM,
    SDARMoeForCausalLM,
)
from lift_harness.models.modeling_llada import LLaDAModelLM

NATIVE: tuple[type[DiffusionLM], ...] = (
    LLaDAModelLM,
    DreamModel,
    LLaDA2MoeModelLM,
    SDARForCausalLM,
    SDARMoeForCausalLM,
    Fast_dLLM_QwenForCausalLM,
    A2DQwen3LMHeadModel,
    A2DQwen2LMHeadModel,
    A2DLlamaLMHeadModel,
    ILLaDAForCausalLM,
    RenamedLLaDAMoEModelLM,
)
STACKED_TYPE = "llada2_moe_veomni"  # dFactory's LLaDA2, whose experts are stacked
# By model_type; the encoders of `masked_lm.HEADS` are known too.
MODEL_CLASSES: dict[str, type[DiffusionLM]] = {model.config_class.model_type: model for model in NATIVE}
MODEL_CLASSES[STACKED_TYPE] = LLaDA2MoeModelLM
for _model in NATIVE:
    AutoConfig.register(_model.config_class.model_type, _model.config_class, exist_ok=True)
    AutoModel.register(_model.config_class, _model, exist_ok=True)
    AutoModelForMaskedLM.register(_model.config_class, _model, exist_ok=True)


def family_of(written: dict[str, Any]) -> type[DiffusionLM] | None:
    """The model class of a config.json as it is written; None: not a native one.

    LLaDA-MoE says "llada" too: it has experts, and another word for the hidden size.
    """
    kind = written.get("model_type")
    if (
        kind == LLaDAMoEModelLM.config_class.model_type
        and "d_model" not in written
        and "num_experts" in written
    ):
        return LLaDAMoEModelLM
    return MODEL_CLASSES.get(kind) if isinstance(kind, str) else None
