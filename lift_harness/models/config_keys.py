"""Every key of a config.json is computed, known to change nothing, or refused by its name.

A model that is read as another one of the same `model_type` (LLaDA-MoE also says "llada") must not load.
"""

from __future__ import annotations

import inspect
from typing import Any

from lift_harness.errors import LiftError

# Of transformers' base class, versions 4 and 5: about files, outputs, other tasks, and generating text.
# fmt: off
GENERAL = frozenset((
    "architectures", "attn_implementation", "auto_map", "bos_token_id", "chunk_size_feed_forward",
    "decoder_start_token_id", "dtype", "eos_token_id", "finetuning_task", "id2label",
    "keys_to_ignore_at_inference", "label2id", "mask_token_id", "model_type", "output_attentions",
    "output_hidden_states", "pad_token_id", "prefix", "problem_type", "return_dict", "sep_token_id",
    "task_specific_params", "tokenizer_class", "torch_dtype", "transformers_version", "use_cache",
    "diversity_penalty", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "num_beam_groups", "num_beams", "num_return_sequences", "repetition_penalty", "temperature",
    "top_k", "top_p", "typical_p",
))
# fmt: on
ENCODERS: dict[str, tuple[Any, ...]] = {"is_decoder": (False,), "position_embedding_type": ("absolute",)}


def check_keys(written: dict[str, Any], family: Any) -> None:
    """Refuse keys that ask for something that is not computed.

    Args:
        written: a config.json.
        family: the native configuration class, with `attribute_map` and `without_effect`; None: an encoder,
            whose keys are those of transformers' own class.

    Raises:
        LiftError: naming the first such key, with its value.
    """
    if written.get("quantization_config"):
        raise LiftError(
            "config.json: quantization_config is not supported: quantised checkpoints are not read; take the "
            "original, and load_in_8bit or load_in_4bit"
        )
    if family is None:
        for key, supported in ENCODERS.items():
            if written.get(key, supported[0]) not in supported:
                raise LiftError(f"config.json: {key}={written[key]!r} is not supported for an encoder")
        return
    known = GENERAL | family.without_effect.keys() | inspect.signature(family.__init__).parameters.keys()
    known |= getattr(family, "published", {}).keys() | {"rope_parameters"}
    for key, value in written.items():
        own = family.attribute_map.get(key, key)
        if own != key and value not in (None, written.get(own)):
            raise LiftError(
                f"config.json: {key}={value!r} is not a key of {family.model_type} models, whose key is "
                f"{own}={written.get(own)!r}; this checkpoint is of another kind"
            )
        off = not value  # null, false, 0: whatever it is, it is switched off
        if own == key and key not in known | family.supported.keys() and not off and key[0] != "_":
            raise LiftError(
                f"config.json: {key}={value!r} is not computed for {family.model_type} models; this "
                "checkpoint is of another kind, or, if the key changes nothing, take it out"
            )
