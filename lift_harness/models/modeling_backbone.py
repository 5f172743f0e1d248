"""The dense families on the backbone: SDAR, Fast-dLLM v2, dllm's A2D models, iLLaDA.

Their layers are those of Qwen3, Qwen2 and Llama; the configurations say where they differ. Layers of
transformers are not used: docs/adding-a-model.md says why. Classes have the published names, which saved
checkpoints write into config.json ("architectures").
"""

from __future__ import annotations

from lift_harness.models.backbone import BackboneLM
from lift_harness.models.configuration_backbone import (
    A2DLlamaConfig,
    A2DQwen2Config,
    A2DQwen3Config,
    FastDLLMConfig,
    ILLaDAConfig,
    SDARConfig,
)


class SDARForCausalLM(BackboneLM):
    """SDAR and TraDo."""

    config_class = SDARConfig


class Fast_dLLM_QwenForCausalLM(BackboneLM):  # noqa: N801 (its published name)
    """Fast-dLLM v2; while it decodes, the shift by one stays inside the block (or sub-block)."""

    config_class = FastDLLMConfig
    logit_shift = 1


class A2DQwen3LMHeadModel(BackboneLM):
    """dllm's Qwen3: MDLM without a block size, BD3LM with one."""

    config_class = A2DQwen3Config


class A2DQwen2LMHeadModel(BackboneLM):
    """dllm's Qwen2."""

    config_class = A2DQwen2Config


class A2DLlamaLMHeadModel(BackboneLM):
    """dllm's Llama."""

    config_class = A2DLlamaConfig


class ILLaDAForCausalLM(BackboneLM):
    """iLLaDA, fully bidirectional."""

    config_class = ILLaDAConfig
