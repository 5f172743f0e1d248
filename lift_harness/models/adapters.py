"""Adapters of peft on a loaded model: those that lift-harness trains, and those of the authors' code.

Both name the modules as the official checkpoints do (`base_model.model.model.transformer.blocks.0.q_proj`),
so that one file serves both.
"""

from __future__ import annotations

import copy
import logging
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lift_harness.errors import LiftError, first_line
from lift_harness.models.adapter_kinds import BESIDE, NOT_SHOWN, check_kind
from lift_harness.models.bounded import check_patterns
from lift_harness.models.checkpoint import check_numbers, member, read_header, read_json

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
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, folder, config=peft_settings(config))
    except Exception as error:  # what a wrong value raises depends on the value
        raise LiftError(f"adapter {folder!r} does not fit this model: {reason(error)}") from error
    taken = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if left := [name for name in adapter_shapes(folder) if method_of(folder) in name and name not in taken]:
        raise LiftError(
            f"adapter {folder!r} does not fit this model: its adapter_config.json has no place for {left[0]} "
            f"({len(left)} tensors)"
        )
    check_numbers(f"adapter {folder!r}", taken.items())
    if beside:
        return adapted.get_base_model()
    fold(adapted)
    return adapted.base_model.unload()


def peft_settings(config: dict[str, Any]) -> Any:
    """peft's configuration object of an adapter_config.json, without what names code or files."""
    from peft import PeftConfig

    settings = PeftConfig.from_peft_type(**{key: config[key] for key in config if key not in NOT_SHOWN})
    settings.task_type = None  # the authors' CAUSAL_LM asks for methods of autoregressive models
    return settings


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
        trained = Path(folder, "train", "adapter")  # where a run keeps it
        hint = f"; give {trained}" if (trained / file.name).is_file() else ""
        raise LiftError(f"no adapter in {folder!r}: it has no adapter_config.json{hint}")
    config = read_json(member(Path(folder), file.name))
    if not isinstance(trained_on := config.get("base_model_name_or_path"), str | None):
        raise LiftError(f"{file}: base_model_name_or_path={trained_on!r:.60} is no name")
    if isinstance(saved := config.get("modules_to_save"), str):  # peft would take its letters for names
        raise LiftError(f"{file}: modules_to_save={saved!r:.60} must be a list of names")
    return config


def adapter_shapes(folder: str) -> dict[str, tuple[int, ...]]:
    """Shapes of an adapter's tensors, by their names in its file."""
    file = member(Path(folder), "adapter_model.safetensors")
    if file.is_file():
        return {name: header.shape for name, header in read_header(file).items()}
    file = member(Path(folder), "adapter_model.bin")
    if not file.is_file():
        raise LiftError(f"no adapter in {folder!r}: it has no adapter_model.safetensors")
    try:
        tensors = torch.load(file, map_location="meta", weights_only=True)
    except Exception as error:  # pickle's, and what a wrong argument of a constructor raises
        raise LiftError(f"{file}: cannot be read ({first_line(error)}); copy it again") from error
    if not isinstance(tensors, dict) or not all(isinstance(one, torch.Tensor) for one in tensors.values()):
        raise LiftError(f"{file}: holds something other than tensors; copy it again")
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
    check_patterns(f"adapter {folder!r}", patterns(config), modules)
    if next(model.parameters()).device.type == "meta":
        check_complete(model, folder)


def patterns(config: dict[str, Any]) -> set[str]:
    """The regular expressions of an adapter_config.json: peft takes a text for one, and the keys of a table.

    A list of names it compares by their ends; of `modules_to_save` and `layers_pattern` it makes patterns.
    """
    options = [config.get(key) for key in ("target_modules", "exclude_modules", "feedforward_modules")]
    listed = [config.get(key) for key in ("modules_to_save", "layers_pattern")]
    tables = [value for key, value in config.items() if key.endswith("_pattern") and isinstance(value, dict)]
    several = [value for value in listed if isinstance(value, list)]
    return {one for one in [*options, *listed, *chain(*tables), *chain(*several)] if isinstance(one, str)}


def check_complete(model: nn.Module, folder: str) -> None:
    """Compare an adapter's tensors with those that its configuration makes on a model on the meta device.

    A few kinds cannot be laid out there; of these `add_adapter` finds what is missing.

    Raises:
        LiftError: naming the first tensor that is missing or has another shape.
    """
    from peft import PeftModel, get_peft_model_state_dict

    try:
        settings = peft_settings(read_adapter_config(folder))
        if isinstance(getattr(settings, "init_lora_weights", None), str):
            settings.init_lora_weights = False  # the others compute with the weights
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            laid_out = PeftModel(copy.deepcopy(model), settings, low_cpu_mem_usage=True)
            expected = get_peft_model_state_dict(laid_out, save_embedding_layers=False)
    except Exception as error:  # what a wrong value raises depends on the value
        if "meta" in str(error).lower():
            return
        raise LiftError(f"adapter {folder!r} does not fit this model: {reason(error)}") from error
    found = adapter_shapes(folder)
    if missing := [name for name in expected if name not in found]:
        raise LiftError(
            f"adapter {folder!r} lacks {len(missing)} tensors, the first {missing[0]!r}; it is incomplete, "
            "or its adapter_config.json belongs to another adapter"
        )
    for name, tensor in expected.items():
        if found[name] != tuple(tensor.shape):
            raise LiftError(
                f"adapter {folder!r} does not fit this model: {name} has shape {list(found[name])}, its "
                f"adapter_config.json makes it {list(tensor.shape)}"
            )


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
