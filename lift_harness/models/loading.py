"""`load_model`: a checkpoint folder, a Hub id or "lift-tiny", as a model and its tokenizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from lift_harness.errors import LiftError
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.modeling_llada import LLaDAModelLM

BUILT_IN = {"lift-tiny": Path(__file__).parent / "lift_tiny"}
MODEL_CLASSES: dict[str, type[PreTrainedModel]] = {"llada": LLaDAModelLM}

AutoConfig.register("llada", LLaDAConfig, exist_ok=True)
AutoModel.register(LLaDAConfig, LLaDAModelLM, exist_ok=True)


def load_model(
    name: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    revision: str | None = None,
    peft: str | None = None,
) -> tuple[Any, Any]:
    """Load a checkpoint in the official format, without running any code from it.

    Args:
        name: a folder, a Hub id such as "GSAI-ML/LLaDA-8B-Instruct", or "lift-tiny".
        dtype: of the weights; "auto": as stored.
        device: "cpu", "cuda", ...; by default the GPU if there is one.
        revision: of a Hub id.
        peft: folder of a LoRA adapter to put on top.

    Returns:
        (model, tokenizer), the model in eval mode; the tokenizer knows mask, end-of-text and padding.

    Raises:
        LiftError: nothing there, not a known kind of model, damaged or incomplete weights.
    """
    where = resolve(name)
    config = read_config(where, revision)
    model_class = MODEL_CLASSES[config["model_type"]]
    try:
        model, info = model_class.from_pretrained(
            where, dtype=_dtype(dtype), revision=revision, output_loading_info=True
        )
    except SafetensorError as error:
        raise LiftError(
            f"{damaged_file(where)}: not a whole safetensors file ({error}); copy it again"
        ) from error
    except (OSError, RuntimeError) as error:
        raise LiftError(f"cannot load the weights of {name!r}: {_first_line(error)}") from error
    if missing := sorted(info["missing_keys"]):
        raise LiftError(
            f"{name!r} lacks {len(missing)} tensors, the first {missing[0]!r}; "
            "the checkpoint is incomplete or its config.json belongs to another model"
        )
    tokenizer = load_tokenizer(where, model.config.mask_token_id, revision)
    if peft is not None:
        model = add_adapter(model, peft)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return model.eval(), tokenizer


def resolve(name: str) -> str:
    """The folder or Hub id that `name` means."""
    if name in BUILT_IN:
        return str(BUILT_IN[name])
    if Path(name).is_dir():
        return name
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise LiftError(
            f"no model folder {name!r}; give a folder with config.json, a Hub id (owner/name) "
            f"or one of: {', '.join(BUILT_IN)}"
        )
    return name


def read_config(where: str, revision: str | None) -> dict[str, Any]:
    """The checkpoint's config.json, of a known model type."""
    try:
        config, _ = LLaDAConfig.get_config_dict(where, revision=revision)
    except OSError as error:
        what = "has no readable config.json" if Path(where).is_dir() else "cannot be had from the Hub"
        raise LiftError(f"model {where!r} {what}: {_first_line(error)}") from error
    kind = config.get("model_type")
    if kind not in MODEL_CLASSES:
        raise LiftError(
            f"{where}: config.json says model_type={kind!r}, which lift-harness cannot decode; "
            f"known: {', '.join(MODEL_CLASSES)}"
        )
    return config


def load_tokenizer(where: str, mask_id: int, revision: str | None = None) -> Any:
    """The checkpoint's tokenizer; its mask token is the model's."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
    except (OSError, ValueError, KeyError) as error:  # KeyError: transformers 4, for a model type not its own
        raise LiftError(f"no tokenizer in {where!r}: {_first_line(error)}") from error
    if tokenizer.mask_token_id is None:
        token = tokenizer.convert_ids_to_tokens(mask_id)
        if token is None:
            raise LiftError(
                f"{where}: mask_token_id={mask_id} of config.json is not in the tokenizer "
                f"({len(tokenizer)} tokens); the two do not belong together"
            )
        tokenizer.mask_token = token
    if tokenizer.mask_token_id != mask_id:
        raise LiftError(
            f"{where}: config.json has mask_token_id={mask_id}, the tokenizer {tokenizer.mask_token_id}; "
            "make them agree"
        )
    return tokenizer


def add_adapter(model: PreTrainedModel, folder: str) -> Any:
    """The model with a saved LoRA adapter merged into its weights."""
    from peft import PeftModel

    if not (Path(folder) / "adapter_config.json").is_file():
        raise LiftError(f"no adapter in {folder!r}: it has no adapter_config.json")
    return PeftModel.from_pretrained(model, folder).merge_and_unload()  # type: ignore[arg-type]


def damaged_file(where: str) -> str:
    """The first safetensors file of a folder that cannot be opened (the folder if all can)."""
    for file in sorted(Path(where).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return str(file)
    return where


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    found = getattr(torch, str(dtype), None)
    if not isinstance(found, torch.dtype):
        raise LiftError(f"dtype={dtype!r} is not a torch dtype; use auto, bfloat16, float16 or float32")
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
