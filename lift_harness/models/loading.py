"""`load_model`: a checkpoint folder, a Hub id or a model inside the package, as a model and its tokenizer.

Importing this module (or `lift_harness.models`) makes transformers' AutoConfig, AutoModel and
AutoModelForMaskedLM know the native families.

Weights are never held twice. At the stored dtype the parameters are views of the mapped files; another
dtype is made one parameter after the other; on a GPU each tensor goes there directly.
"""

from __future__ import annotations

import importlib.util
import re
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, BitsAndBytesConfig

from lift_harness.errors import LiftError, first_line
from lift_harness.models.adapters import add_adapter, check_adapter
from lift_harness.models.backbone import BackboneLM
from lift_harness.models.bare_folder import bare_folder
from lift_harness.models.base import DiffusionLM
from lift_harness.models.checkpoint import (
    BUILT_IN,
    INDEX,
    Header,
    check_numbers,
    check_stored,
    check_tensors,
    commit_of,
    find_adapter,
    find_folder,
    incomplete,
    member,
    quiet,
    read_headers,
    read_json,
    stored_dtype,
    weight_files,
)
from lift_harness.models.config_keys import check_keys, check_values, shown_keys
from lift_harness.models.configuration_backbone import BackboneConfig, check_block_size
from lift_harness.models.families import MODEL_CLASSES, family_of
from lift_harness.models.masked_lm import HEADS, MaskedLM
from lift_harness.models.stacked_experts import has_stacks, unstack, unstacked_headers
from lift_harness.models.tokenization import Special, load_tokenizer, resolve_ids

__all__ = ["BUILT_IN", "MODEL_CLASSES", "load_model"]

ATTENTION = ("sdpa", "eager", "flash_attention_2")
DIFFUSION_GEMMA = "diffusion_gemma"  # is loaded by `lift_dlm` itself (lm/diffusion_gemma.py)
EXPERT = re.compile(r"\.mlp\.experts\.(\d+)\.")
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
OFFLOADED: list[TemporaryDirectory[str]] = []  # folders of models that are in part on the disk, until the end


def load_model(
    name: str,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    peft: str | None = None,
    load_in_8bit: bool = False,
    load_in_4bit: bool = False,
    mask_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
    chat_template: str | None = None,
    block_size: int | None = None,
) -> tuple[Any, Any]:
    """Load a checkpoint in the official format, without running any code from it (docs/checkpoints.md).

    Args:
        name: a folder, a Hub id such as "GSAI-ML/LLaDA-8B-Instruct", or "lift-tiny", "lift-tiny-block".
        dtype: of the weights; "auto": what config.json says, else as stored.
        device: "cpu", "cuda", ...; by default the GPU if there is one.
        device_map: as transformers has it ("auto", or module to device), in place of `device`.
        attn_implementation: sdpa, eager or flash_attention_2.
        revision: of a Hub id.
        peft: folder or Hub id (owner/name, owner/name@REVISION) of an adapter, folded into the weights
            (beside them if these are quantised).
        load_in_8bit: quantise with bitsandbytes.
        load_in_4bit: quantise with bitsandbytes (NF4).
        mask_token_id: in place of the checkpoint's.
        eos_token_id: in place of the checkpoint's.
        pad_token_id: in place of the checkpoint's.
        chat_template: file or text of a template, in place of the checkpoint's.
        block_size: of a block-diffusion model, in place of the checkpoint's (dllm's BD3LM files name none).

    Returns:
        (model, tokenizer), the model in eval mode; the tokenizer knows mask, end-of-text and padding.

    Raises:
        LiftError: nothing there, not a known kind of model, damaged, incomplete or contradictory files, or
            options that cannot be met.
    """
    given = {"mask_token_id": mask_token_id, "eos_token_id": eos_token_id, "pad_token_id": pad_token_id}
    wanted = check_dtype(dtype)
    quantisation = quantise(load_in_8bit, load_in_4bit, wanted)
    if attn_implementation is not None:
        check_attention(attn_implementation)
    places = device_map if device_map is not None else place(device, quantisation is not None)
    if device_map is not None and device is not None:
        raise LiftError(f"device={str(device)!r} and device_map={device_map!r}: give one of them")

    adapter = None if peft is None else str(find_adapter(peft))  # the small download first
    folder = find_folder(name, revision)
    config, empty = empty_model(folder, name, block_size)
    attention = attn_implementation or own_attention(config)
    headers = read_headers(folder)
    native = family_of(config) is not None
    check_weights(name, empty, headers)
    tokenizer = load_tokenizer(folder, config["model_type"], chat_template)
    ids = resolve_ids(tokenizer, config, embedding_rows(empty), where=name, **given)
    if adapter is not None:
        check_adapter(empty, adapter)

    stored = stored_dtype(headers)
    if wanted is None:
        wanted = own_dtype(config, stored)
    # transformers 5 keeps the whole stored checkpoint in memory while it converts: convert ourselves.
    mapped = native and places is None and stored in FLOATS
    options: dict[str, Any] = {"device_map": places, "quantization_config": quantisation}
    options["state_dict"] = unstack(folder) if has_stacks(headers) else None
    model = read_weights(
        type(empty),
        folder,
        name,
        config=empty.config,  # transformers lets the file's attention win over its own argument
        attn_implementation=attention,
        dtype=stored if mapped else wanted,
        **{key: value for key, value in options.items() if value is not None},
    )
    if mapped:
        convert(model, wanted)
    if native:
        check_head(model, places)
    check_numbers(repr(name), chain(model.named_parameters(), model.named_buffers()))
    name_it(model, tokenizer, name, commit_of(folder))
    set_ids(model.config, ids, config, given)
    if adapter is not None:
        model = add_adapter(model, adapter, base=name, merge=quantisation is None)
        check_numbers(f"{name!r} with {peft!r}", model.named_parameters())
    return (model if native else MaskedLM(model)).eval(), tokenizer


# ---------------------------------------------------------------- before the weights


def empty_model(folder: Path, name: str, block_size: int | None = None) -> tuple[dict[str, Any], Any]:
    """config.json as written (`with_other_ends`), and its model on the meta device: no memory.

    Args:
        folder: of the checkpoint.
        name: as it was asked for.
        block_size: in place of the one that config.json has.

    Raises:
        LiftError: no config.json, an unknown model type, or values that make no model.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise LiftError(f"model {name!r} is an adapter; give its base as the model, and it as peft")
        raise LiftError(f"model {name!r} has no config.json; give the folder of a checkpoint")
    written = read_json(member(folder, "config.json"))
    kind, family = written.get("model_type"), family_of(written)
    if kind == DIFFUSION_GEMMA:
        raise LiftError(
            f"{name}: DiffusionGemma is only evaluated (lm_eval --model lift_dlm, lift-harness eval): it "
            "cannot be trained, analysed, merged or chatted with here"
        )
    if family is None and (not isinstance(kind, str) or kind not in HEADS):
        raise LiftError(
            f"{name}: config.json says model_type={kind!r}, which lift-harness cannot decode; "
            f"known: {', '.join([*MODEL_CLASSES, *HEADS])} (to add one: docs/adding-a-model.md)"
        )
    try:
        config_class = CONFIG_MAPPING[kind] if family is None else family.config_class
        check_values(written, config_class)
        check_keys(written, None if family is None else config_class)
        config = config_class.from_dict(shown_keys(written, config_class))
        config._attn_implementation = "eager"  # nothing is computed here: do not ask for flash_attn
        set_block_size(config, block_size)
        with torch.device("meta"):
            if family is not None:
                return with_other_ends(written, folder), family(config)
            return written, MODEL_FOR_MASKED_LM_MAPPING[config_class](config)
    except LiftError:
        raise
    except Exception as error:  # what a wrong value raises depends on the value
        raise LiftError(f"{name}: config.json makes no {kind} model: {first_line(error)}") from error


def with_other_ends(written: dict[str, Any], folder: Path) -> dict[str, Any]:
    """config.json with the ends of text that generation_config.json adds (SDAR's end of turn)."""
    file, own = folder / "generation_config.json", written.get("eos_token_id")
    if own is None or not file.is_file():
        return written
    ends = [*listed(own), *listed(read_json(member(folder, file.name)).get("eos_token_id"))]
    unique = list(dict.fromkeys(ends))
    return written | {"eos_token_id": unique} if len(unique) > 1 else written


def listed(ids: Any) -> list[Any]:
    """An id, several, or none, as a list."""
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def set_block_size(config: Any, block_size: int | None) -> None:
    """Put a given length of blocks into a configuration; None leaves its own."""
    if block_size is None:
        return
    check_block_size(block_size)
    takes = isinstance(config, BackboneConfig) and config.takes_block_size()
    if not takes:
        raise LiftError(
            f"block_size={block_size}: {config.model_type} models are bidirectional "
            "and have no blocks; leave it out"
        )
    config.block_size = block_size


def check_weights(name: str, empty: Any, headers: dict[str, Header]) -> None:
    """Compare the tensors of a model with those in its files (`check_tensors`)."""
    headers = unstacked_headers(headers)
    check_experts_stored(name, empty.config, headers)
    tensors = empty.state_dict()
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    floats = {key for key, value in tensors.items() if value.is_floating_point()}
    check_stored(name, {key: header for key, header in headers.items() if key in floats})
    check_tensors(name, shapes, headers, strict=isinstance(empty, DiffusionLM), ignored=unused(empty))


def check_experts_stored(name: str, config: Any, headers: dict[str, Header]) -> None:
    """Refuse another number of experts than config.json says."""
    expected = getattr(config, "num_experts", None)
    found = {int(match[1]) for match in map(EXPERT.search, headers) if match}
    if expected is not None and found and len(found) != expected:
        raise LiftError(
            f"cannot load the weights of {name!r}: config.json says num_experts={expected}, the files hold "
            f"{len(found)} a layer; config.json belongs to another model"
        )


def own_dtype(config: dict[str, Any], stored: torch.dtype) -> torch.dtype:
    """The dtype of a checkpoint: what config.json says, else as stored."""
    return check_dtype(config.get("dtype") or config.get("torch_dtype") or stored) or stored


def unused(model: Any) -> frozenset[str]:
    """Tensors that a file may hold although the model has no place for them: a tied output projection."""
    tied = isinstance(model, BackboneLM) and model.config.tie_word_embeddings
    return frozenset({"lm_head.weight"} if tied else ())


def embedding_rows(model: Any) -> int:
    """Ids that the model has."""
    return model.get_input_embeddings().num_embeddings


def check_dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """The dtype that is meant; None: the checkpoint's."""
    if dtype == "auto":
        return None
    found = dtype if isinstance(dtype, torch.dtype) else getattr(torch, str(dtype), None)
    if not isinstance(found, torch.dtype):
        raise LiftError(f"dtype={dtype!r} is not a torch dtype; use auto, bfloat16, float16 or float32")
    if not found.is_floating_point:
        raise LiftError(f"dtype={dtype!r} has no fractions; use auto, bfloat16, float16 or float32")
    return found


def own_attention(config: dict[str, Any]) -> str:
    """The attention of a checkpoint that no argument overrides: what config.json says, else sdpa."""
    asked = config.get("attn_implementation") or config.get("_attn_implementation")
    if asked in (None, "flex_attention"):  # the latter is a kernel of SDAR's training code
        return "sdpa"
    try:
        check_attention(asked)
    except LiftError as error:
        raise LiftError(f"config.json: {error}; attn_implementation=sdpa overrides it") from error
    return asked


def check_attention(implementation: str) -> None:
    """Refuse an attention that is unknown or not installed."""
    if implementation not in ATTENTION:
        raise LiftError(f"attn_implementation={implementation!r} must be one of: {', '.join(ATTENTION)}")
    if implementation == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise LiftError(
            "attn_implementation='flash_attention_2' needs the package flash_attn, which is not installed: "
            "pip install 'lift-harness[gpu]', or use sdpa"
        )


def quantise(in_8bit: bool, in_4bit: bool, dtype: torch.dtype | None) -> BitsAndBytesConfig | None:
    """The quantisation that is asked for, if any."""
    if not in_8bit and not in_4bit:
        return None
    if in_8bit and in_4bit:
        raise LiftError("load_in_8bit and load_in_4bit exclude each other; give one of them")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LiftError(
            f"load_in_{8 if in_8bit else 4}bit needs the package bitsandbytes, which is not installed: "
            "pip install bitsandbytes, or load at dtype=bfloat16"
        )
    if in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype or torch.bfloat16
    )


def place(device: str | torch.device | None, quantised: bool) -> dict[str, Any] | None:
    """A device map of one device; None for the CPU, where the weights stay in their files."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise LiftError(f"device={device!r} is none: {first_line(error)}") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise LiftError(f"device={str(device)!r}: torch finds no GPU here; use device=cpu")
    return {"": chosen} if quantised or chosen.type != "cpu" else None


# ---------------------------------------------------------------- the weights


def read_weights(model_class: Any, folder: Path, name: str, **options: Any) -> Any:
    """`from_pretrained` with errors of one line; everything that was asked for must be there."""
    files, index = weight_files(folder)
    bare = bare_folder(folder, [*files, INDEX] if index else files)
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                None if "state_dict" in options else bare.name,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
    except Exception as error:  # what a damaged file raises depends on the damage
        why = first_line(error).replace(bare.name, str(folder))
        raise LiftError(f"cannot load the weights of {name!r}: {why}") from error
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        OFFLOADED.append(bare)  # accelerate reads these again and again
    if missing := sorted(info["missing_keys"]):
        raise incomplete(name, missing)
    return model


def check_head(model: Any, places: Any) -> None:
    """Refuse an offloaded output projection: its matrix is used directly, which would give noise."""
    head = model.get_output_embeddings() or model.get_input_embeddings()
    if head.weight.device.type == "meta":
        name = next(name for name, module in model.named_modules() if module is head)
        raise LiftError(
            f"device_map={places!r} offloads the output projection; give {name} a device of its own, "
            "or load_in_8bit in place of offloading"
        )


@torch.no_grad()
def convert(model: nn.Module, dtype: torch.dtype) -> None:
    """Change the dtype of a model parameter by parameter: each lets go of its file's pages at once."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype  # type: ignore[union-attr]


def name_it(model: Any, tokenizer: Any, name: str, commit: str | None) -> None:
    """Call the model by the name that was asked for; a Hub id's weights lie in a folder of the cache."""
    model.config._name_or_path = model.name_or_path = tokenizer.name_or_path = name
    model.config._commit_hash = commit


def set_ids(
    config: Any, ids: dict[str, Special], written: dict[str, Any], given: dict[str, int | None]
) -> None:
    """Put resolved ids where config.json had none or others were given."""
    for kind, special in ids.items():
        key = f"{kind}_token_id"
        if written.get(key) is None or given[key] is not None:
            setattr(config, key, special.id)
