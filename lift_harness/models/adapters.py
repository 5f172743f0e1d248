"""Adapters of peft on a loaded model: those that lift-harness trains, and those of the authors' code.

Both name the modules as the official checkpoints do (`base_model.model.model.transformer.blocks.0.q_proj`),
so that one file serves both.
"""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from lift_harness.errors import LiftError, first_line
from lift_harness.models.adapter_kinds import BESIDE, check_kind
from lift_harness.models.checkpoint import read_header, read_json

log = logging.getLogger(__name__)
PREFIX = "base_model.model."  # peft's, in front of the base model's names


def add_adapter(model: nn.Module, folder: str, base: str | None = None, merge: bool = True) -> Any:
    """The model with a saved adapter: folded into its weights where that can be, else beside them.

    Args:
        model: the base.
        folder: with adapter_config.json and adapter_model.safetensors (or .bin).
        base: what `model` was loaded from, to compare with what the adapter was trained on.
        merge: fold; not into quantised weights.

    Raises:
        LiftError: no adapter there, one of a kind that cannot work here, or one that belongs to another base.
    """
    config = read_adapter_config(folder)
    check_adapter(model, folder)
    beside = not merge or cannot_fold(model, folder) is not None
    if base is not None:
        warn_of_another_base(folder, config.get("base_model_name_or_path"), base)
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    try:
        settings = PeftConfig.from_pretrained(folder)
        settings.task_type = None  # the authors' CAUSAL_LM asks for methods of autoregressive models
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, folder, config=settings)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, UserWarning, AttributeError) as error:
        raise LiftError(f"adapter {folder!r} does not fit this model: {reason(error)}") from error
    taken = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if left := [name for name in adapter_shapes(folder) if method_of(folder) in name and name not in taken]:
        raise LiftError(
            f"adapter {folder!r} does not fit this model: its adapter_config.json has no place for {left[0]} "
            f"({len(left)} tensors)"
        )
    if beside:
        return adapted.get_base_model()
    fold(adapted)
    return adapted.base_model.unload()


def reason(error: Exception) -> str:
    """One line of an error of peft: torch's first line about shapes names none of them."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line.startswith("size mismatch")), first_line(error))


def fold(adapted: nn.Module) -> None:
    """Add every adapter to its layer, one at a time in float32, so that the sum is rounded once."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in adapted.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        layer: Any = module.get_base_layer()
        dtype = layer.weight.dtype
        cast(layer, torch.float32)
        try:
            module.merge(safe_merge=True)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise LiftError(f"cannot merge the adapter of {name}: {first_line(error)}") from error
        cast(layer, dtype)
        cast(module.get_base_layer(), dtype)  # another one where the adapter is a whole layer


def cast(layer: nn.Module, dtype: torch.dtype) -> None:
    """Change the dtype of a layer's own weight and bias."""
    for parameter in layer.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)


def read_adapter_config(folder: str) -> dict[str, Any]:
    """The adapter's adapter_config.json."""
    file = Path(folder) / "adapter_config.json"
    if not file.is_file():
        raise LiftError(f"no adapter in {folder!r}: it has no adapter_config.json; peft takes a folder")
    return read_json(file)


def adapter_shapes(folder: str) -> dict[str, tuple[int, ...]]:
    """Shapes of an adapter's tensors, by their names in its file."""
    file = Path(folder) / "adapter_model.safetensors"
    if file.is_file():
        return {name: header.shape for name, header in read_header(file).items()}
    file = Path(folder) / "adapter_model.bin"
    if not file.is_file():
        raise LiftError(f"no adapter in {folder!r}: it has no adapter_model.safetensors")
    try:
        tensors = torch.load(file, map_location="meta", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise LiftError(f"{file}: cannot be read ({first_line(error)}); copy it again") from error
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def method_of(folder: str) -> str:
    """What the names of an adapter's own tensors begin with, inside their module: ".lora_"."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    kind = read_adapter_config(folder).get("peft_type")
    return f".{PEFT_TYPE_TO_PREFIX_MAPPING.get(kind, 'lora_')}"


def adapted_modules(folder: str) -> dict[str, str]:
    """Of each tensor that belongs to one module: its name, and the module's; others are shared by all."""
    method, modules = method_of(folder), {}
    for tensor in adapter_shapes(folder):
        if not tensor.startswith(PREFIX):
            continue
        path, adapts, _ = tensor.removeprefix(PREFIX).partition(method)
        if not adapts:  # a whole tensor: of modules_to_save, a bias, an embedding
            path = path.rpartition(".")[0]
        modules[tensor] = path.removesuffix(".base_layer").removesuffix(".token_adapter")
    return modules


def check_adapter(model: nn.Module, folder: str) -> None:
    """Compare an adapter with the model that it is put on; that may be on the meta device.

    Raises:
        LiftError: a kind that is not supported; or naming the first module that the model does not have, or
            the first tensor whose shape is not what the model's weight asks for.
    """
    config, shapes = read_adapter_config(folder), adapter_shapes(folder)
    check_kind(folder, config)
    if not shapes:
        raise LiftError(f"adapter {folder!r} holds no tensors; copy it again")
    modules: dict[str, Any] = dict(model.named_modules())
    adapted = adapted_modules(folder)
    for tensor, path in adapted.items():
        if path not in modules:
            raise LiftError(
                f"adapter {folder!r} belongs to another base: it adapts {path}, which {_kind(model)} has not"
            )
        expected = None if config.get("use_bdlora") else lora_shape(tensor, shapes[tensor], modules[path])
        if expected is not None and shapes[tensor] != expected:
            raise LiftError(
                f"adapter {folder!r} belongs to another base: {tensor} has shape {list(shapes[tensor])}, "
                f"this model needs {list(expected)}"
            )
    check_tied(model, folder, {modules[path] for path in adapted.values()})


def cannot_fold(model: nn.Module, folder: str) -> str | None:
    """Why an adapter cannot become part of the weights of `model` (or its meta twin); None: it can."""
    kind = read_adapter_config(folder).get("peft_type")
    if kind in BESIDE:
        return f"peft cannot merge peft_type={kind!r}"
    modules: dict[str, Any] = dict(model.named_modules())
    for tensor, path in adapted_modules(folder).items():
        if tensor.endswith((".lora_B.bias", ".beft_bias")) and modules[path].bias is None:
            return f"it has a bias for {path}, and the base has none there"
    return None


def lora_shape(tensor: str, shape: tuple[int, ...], module: Any) -> tuple[int, ...] | None:
    """The shape that a matrix of LoRA must have on `module`; None: no such matrix, or a quantised module."""
    if not isinstance(module, nn.Linear) or type(module.weight) is not nn.Parameter:
        return None  # quantised: the stored shape is not the matrix's
    n_out, n_in = module.weight.shape
    if tensor.endswith((".lora_A.weight", ".lora_A")):  # AdaLoRA's are bare
        return shape[0], n_in
    if tensor.endswith((".lora_B.weight", ".lora_B")):
        return n_out, shape[-1]
    return None


def check_tied(model: Any, folder: str, adapted: set[nn.Module]) -> None:
    """Refuse an adapted embedding that is the output projection too: peft adapts the first use only."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    if tied and adapted & {embedding, head}:
        raise LiftError(
            f"adapter {folder!r} adapts the embedding, which is the output projection of this base too "
            "(tied weights); that is not supported"
        )


def warn_of_another_base(folder: str, trained_on: str | None, base: str) -> None:
    """One line when the adapter names another base than the one that it is put on."""
    if trained_on and not same_base(trained_on, base):
        log.warning(
            "adapter %s was trained on %s and is put on %s; if these are not the same weights, "
            "results mean nothing",
            folder,
            trained_on,
            base,
        )


def same_base(one: str, other: str) -> bool:
    """Whether two names can be of one base: a copy in a folder keeps the last part of the Hub id."""
    return Path(one).resolve() == Path(other).resolve() or Path(one).name == Path(other).name


def _kind(model: nn.Module) -> str:
    return f"a {type(model).__name__} of this shape"
