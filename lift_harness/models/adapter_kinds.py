"""Which of peft's kinds of adapter make sense on a diffusion language model, and which fold into its weights.

All that peft 0.21 knows were tried (docs/checkpoints.md). A kind that is not mentioned here is folded.
"""

from __future__ import annotations

from typing import Any

from lift_harness.errors import LiftError

BEFORE_THE_TEXT = "it puts learnt vectors in front of the text, where a canvas has no place for them"
REFUSED = {
    "ADAPTION_PROMPT": "it rewrites the attention of LLaMA",
    "CARTRIDGE": BEFORE_THE_TEXT,
    "CPT": BEFORE_THE_TEXT,
    "MULTITASK_PROMPT_TUNING": BEFORE_THE_TEXT,
    "P_TUNING": BEFORE_THE_TEXT,
    "POLY": "every pass must be told a task id",
    "PREFIX_TUNING": BEFORE_THE_TEXT,
    "PROMPT_TUNING": BEFORE_THE_TEXT,
    "SHADOW": "it runs a second, causal network beside the model",
    "XLORA": "it mixes adapters by a pass of its own",
}
# Of LORA: options that peft computes for autoregressive models only, or cannot compute again when it loads.
REFUSED_OPTIONS = {
    "alora_invocation_tokens": "it starts after a token of the prompt, which needs a causal model",
    "arrow_config": "it mixes several adapters, of which this folder holds one",
    "layer_replication": "it changes the layers of the model",
    "megatron_config": "it is of a model that Megatron distributes",
}
# Never given to peft: they name code, files, or a model beside the one that the adapter is put on.
NOT_SHOWN = ("auto_mapping", "base_model_name_or_path", "megatron_core", "revision", "runtime_config")
CONVERT = "convert it to plain LoRA where it was trained (path_initial_model_for_weight_conversion)"
BESIDE = ("LILY",)  # a product that depends on the input: peft cannot fold it


def check_kind(folder: str, config: dict[str, Any]) -> None:
    """Refuse what cannot work here, by its own name.

    Args:
        folder: of the adapter, for the message.
        config: its adapter_config.json.
    """
    from peft import PeftType, __version__

    kind = config.get("peft_type")
    if kind is not None and kind not in [known.value for known in PeftType]:
        raise LiftError(f"adapter {folder!r} is peft_type={kind!r}, which peft {__version__} does not know")
    if kind in REFUSED:
        raise LiftError(f"adapter {folder!r} is peft_type={kind!r}, which is not supported: {REFUSED[kind]}")
    if kind != "LORA":
        return
    for option, why in REFUSED_OPTIONS.items():
        if config.get(option):
            raise LiftError(
                f"adapter {folder!r} has {option}={config[option]!r}, which is not supported: {why}"
            )
    start = str(config.get("init_lora_weights"))
    if start == "corda" or start.startswith("pissa_niter_"):
        raise LiftError(
            f"adapter {folder!r} has init_lora_weights={start!r}, which changed the base by numbers that are "
            f"not in its files; {CONVERT}"
        )
