"""LoRA adapters on a loaded model: those that lift-harness trains, and those of the authors' code.

Both name the modules as the official checkpoints do (`base_model.model.model.transformer.blocks.0.q_proj`),
so that one file serves both.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from lift_harness.errors import LiftError, first_line
from lift_harness.models.checkpoint import read_header, read_json

log = logging.getLogger(__name__)
PREFIX = "base_model.model."  # peft's, in front of the base model's names


def add_adapter(model: nn.Module, folder: str, base: str | None = None, merge: bool = True) -> Any:
    """The model with a saved adapter: folded into its weights, or (quantised models) beside them.

    Args:
        model: the base.
        folder: with adapter_config.json and adapter_model.safetensors (or .bin).
        base: what `model` was loaded from, to compare with what the adapter was trained on.
        merge: fold.

    Raises:
        LiftError: no adapter there, or one that belongs to another base.
    """
    config = read_adapter_config(folder)
    check_shapes(model, folder)
    if base is not None:
        warn_of_another_base(folder, config.get("base_model_name_or_path"), base)
    from peft import PeftConfig, PeftModel

    try:
        settings = PeftConfig.from_pretrained(folder)
        settings.task_type = None  # the authors' CAUSAL_LM asks for methods of autoregressive models
        adapted = PeftModel.from_pretrained(model, folder, config=settings)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise LiftError(f"adapter {folder!r} does not fit this model: {first_line(error)}") from error
    if not merge:
        return adapted.get_base_model()
    fold(adapted)
    return adapted.base_model.unload()


def fold(adapted: nn.Module) -> None:
    """Add every adapter to its weight, one layer at a time in float32, so that the sum is rounded once."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer):
            weight: Any = module.get_base_layer().weight
            dtype = weight.dtype
            weight.data = weight.data.float()
            try:
                module.merge(safe_merge=True)
            except ValueError as error:
                raise LiftError(f"cannot merge the adapter of {name}: {first_line(error)}") from error
            weight.data = weight.data.to(dtype)


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


def check_shapes(model: nn.Module, folder: str) -> None:
    """Compare an adapter's tensors with the modules that they adapt; `model` may be on the meta device.

    Raises:
        LiftError: naming the first module that the model does not have, or the first tensor whose shape is
            not what the model's weight asks for.
    """
    shapes = adapter_shapes(folder)
    if not shapes:
        raise LiftError(f"adapter {folder!r} holds no tensors; copy it again")
    modules = dict(model.named_modules())
    for tensor, shape in shapes.items():
        path, _, part = tensor.removeprefix(PREFIX).partition(".lora_")
        if not part:  # a whole tensor (modules_to_save) or another method's: peft looks at those
            continue
        if path not in modules:
            raise LiftError(
                f"adapter {folder!r} belongs to another base: it adapts {path}, which {_kind(model)} has not"
            )
        module: Any = modules[path]
        if not isinstance(module, nn.Linear) or type(module.weight) is not nn.Parameter:
            continue  # quantised: the stored shape is not the matrix's
        n_out, n_in = module.weight.shape
        expected = (shape[0], n_in) if part.startswith("A.") else (n_out, shape[-1])
        if part[0] in "AB" and shape != expected:
            raise LiftError(
                f"adapter {folder!r} belongs to another base: {tensor} has shape {list(shape)}, "
                f"this model needs {list(expected)}"
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
