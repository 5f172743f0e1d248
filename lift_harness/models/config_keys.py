"""Every key of a config.json is computed, known to change nothing, or refused by its name.

A model that is read as another one of the same `model_type` (LLaDA-MoE also says "llada") must not load.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

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
# Keys of GENERAL and of transformers that name code, files or tables to be made; the class never gets them.
NOT_SHOWN = frozenset(("attn_implementation", "auto_map", "id2label", "label2id", "num_labels"))
# More than any checkpoint has: a model of this many layers takes minutes to lay out, even without memory.
MOST_LAYERS, LARGEST = 1_000, 1 << 31
MAY_BE_NULL = ("head_dim", "num_key_value_heads", "num_shared_experts")
MAY_BE_ZERO = ("first_k_dense_replace", "num_shared_experts")
LAYERS = ("n_layers", "num_hidden_layers", "num_experts")


def shown_keys(written: dict[str, Any], config_class: Any) -> dict[str, Any]:
    """The keys of a config.json that its configuration class gets: its own and the harmless general ones.

    Args:
        written: a config.json.
        config_class: of its `model_type`; it would take any other key, and transformers acts on some of them
            (it loads kernels, other weights, code).
    """
    own = {*parameters(config_class), *getattr(config_class, "supported", ()), *config_class.attribute_map}
    own |= {*getattr(config_class, "without_effect", ()), *GENERAL} - NOT_SHOWN
    return {key: value for key, value in written.items() if key in own}


def parameters(config_class: Any) -> dict[str, Any]:
    """The keys that a configuration class takes, and their types; those of `published` have their values'."""
    hints = get_type_hints(config_class.__init__)
    named = [name for name in inspect.signature(config_class).parameters if name != "kwargs"]
    published = getattr(config_class, "published", {})
    of_values: dict[str, Any] = {
        key: Any if value is None else type(value) for key, value in published.items()
    }
    of_values |= {
        key: kind | None for key, kind in of_values.items() if key in MAY_BE_NULL and kind is not Any
    }
    if published:
        of_values["rope_parameters"] = dict | None  # transformers 5's form of the rotary keys
    return {name: hints.get(name, Any) for name in named} | of_values


def check_values(written: dict[str, Any], config_class: Any) -> None:
    """Refuse values of a wrong type, and numbers that no model has, before anything is made of them.

    Args:
        written: a config.json, read by `checkpoint.read_json`: all numbers are finite.
        config_class: of its `model_type`; transformers' own classes check their types themselves.

    Raises:
        LiftError: naming the first such key, with its value.
    """
    if config_class.__module__.startswith("lift_harness."):
        for key, kind in parameters(config_class).items():
            value = written.get(key)
            # Ids may be lists, or null, of which `tokenization.resolve_ids` makes one.
            if key in written and not key.endswith("_token_id") and not is_of(kind, value):
                shown = getattr(kind, "__name__", kind)
                raise LiftError(f"config.json: {key}={value!r:.60} must be of type {shown}")
            least_one = kind in (int, int | None) and "_id" not in key and key not in MAY_BE_ZERO
            if least_one and isinstance(value, int) and value < 1:
                raise LiftError(f"config.json: {key}={value} must be at least 1")
    for key, number in numbers(written):
        most = MOST_LAYERS if key in LAYERS else LARGEST
        if isinstance(number, int) and abs(number) > most:
            raise LiftError(f"config.json: {key}={number:.4g} is more than any model has ({most:,})")
        if (key.endswith("rope_theta") and number <= 0) or (key.endswith("eps") and number < 0):
            raise LiftError(f"config.json: {key}={number} must be above 0")


def is_of(hint: Any, value: Any) -> bool:
    """Whether a JSON value is of an annotated type; a whole number is a float too, a bool is no number."""
    if hint is Any:
        return True
    if get_origin(hint) is UnionType:
        return any(is_of(one, value) for one in get_args(hint))
    if hint is NoneType:
        return value is None
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers anywhere in a JSON value, each with the key that it stands under."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, value


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
    known = GENERAL | family.without_effect.keys() | {*parameters(family)}
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
