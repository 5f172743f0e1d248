"""`lift-harness doctor`: what a checkpoint is, what it takes, what is wrong with it; without loading weights.

The model is made on the meta device (names and shapes only), sizes come from the headers of the weights.
Memory is reckoned by `lift_harness.budget`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from lift_harness.budget.machines import Machine, machine
from lift_harness.budget.memory import Training, most_requests
from lift_harness.budget.shape import Shape, shape_of
from lift_harness.budget.verdict import training_verdict
from lift_harness.decoding.config import default_block
from lift_harness.doctor.report import Report, Tables, gib
from lift_harness.errors import LiftError, first_line
from lift_harness.models.adapters import (
    adapter_shapes,
    cannot_fold,
    check_adapter,
    read_adapter_config,
    same_base,
)
from lift_harness.models.chat import end_of_turn_id
from lift_harness.models.checkpoint import (
    INDEX,
    SINGLE,
    Header,
    commit_of,
    dtype_name,
    dtype_of,
    find_adapter,
    find_folder,
    read_headers,
    stored_dtype,
)
from lift_harness.models.experts import count_parameters
from lift_harness.models.loading import check_weights, embedding_rows, empty_model, own_attention, own_dtype
from lift_harness.models.masked_lm import MaskedLM
from lift_harness.models.tokenization import Special, check_template, load_tokenizer, resolve_ids
from lift_harness.training.settings import LoraSettings, TrainSettings

TRAINED_ON = 4096  # tokens of a row, or the context where that is less: the paper's recipes


@dataclass
class CheckpointReport(Report):
    """A checkpoint. None: could not be found out, for one of the problems."""

    model: str = ""
    model_type: str | None = None
    model_class: str | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    block_size: int | None = None
    stored_dtype: str | None = None
    dtype: str | None = None
    file_bytes: int | None = None
    weights_bytes: int | None = None
    context: int | None = None
    embedding_rows: int | None = None
    logit_shift: int | None = None
    ids: dict[str, Special] = field(default_factory=dict)
    tokenizer_class: str | None = None
    tokenizer_size: int | None = None
    chat_template: bool | None = None
    chat_example: str | None = None
    adapter: dict[str, Any] | None = None
    prompt_length: int = 0
    gen_length: int = 0
    cache_bytes_per_token: int | None = None  # None too: the model takes no cache
    cache_bytes_per_request: int | None = None
    free_bytes: int | None = None
    free_on: str | None = None
    largest_batch: int | None = None  # without a cache
    largest_batch_with_cache: int | None = None
    training: dict[str, str] = field(default_factory=dict)  # what is trained -> whether it fits

    def tables(self) -> Tables:
        """One table, on one screen."""
        lines = {"model": self.model}
        if self.model_type is not None:
            lines |= model_lines(self) | tokenizer_lines(self) | memory_lines(self)
        return {"checkpoint": lines}


def examine(
    name: str,
    *,
    peft: str | None = None,
    prompt_length: int = 256,
    gen_length: int = 256,
    memory: float | None = None,
    revision: str | None = None,
    on: str | None = None,
    nproc: int | None = None,
    strategy: str = "ddp",
) -> CheckpointReport:
    """Find out all that can be without loading weights.

    Args:
        name: as `load_model`'s.
        peft: folder or Hub id of an adapter to look at with it.
        prompt_length: tokens of the prompts that memory is computed for.
        gen_length: tokens generated.
        memory: GiB to fit into; by default what is free on the GPU, or in RAM without one.
        revision: of a Hub id.
        on: cards to reckon for in place of this machine, as `budget.machines.machine` takes them.
        nproc: processes of a training.
        strategy: how they share it.

    Raises:
        LiftError: cards or processes that are none.
    """
    target = machine(on, nproc)
    report = CheckpointReport(model=name, prompt_length=prompt_length, gen_length=gen_length)
    try:
        folder = find_folder(name, revision, weights=False)
        config, empty = empty_model(folder, name)
    except LiftError as error:
        report.problems.append(str(error))
        return report
    for step in (
        lambda: _model(report, config, empty),
        lambda: _weights(report, config, empty, folder, name, revision),
        lambda: _tokenizer(report, config, empty, folder),
        lambda: _adapter(report, empty, peft),
        lambda: _memory(report, empty, target, memory, here=on is None),
        lambda: _training(report, empty, target, strategy),
    ):
        try:
            step()
        except LiftError as error:
            report.problems.append(str(error))
    return report


# ---------------------------------------------------------------- what is looked at


def _model(report: CheckpointReport, config: dict[str, Any], empty: Any) -> None:
    report.model_type, report.model_class = config["model_type"], type(empty).__name__
    report.parameters, report.active_parameters = count_parameters(empty)
    report.context = empty.config.max_position_embeddings
    report.embedding_rows = embedding_rows(empty)
    report.block_size = getattr(empty, "block_size", MaskedLM.block_size)
    report.logit_shift = getattr(empty, "logit_shift", MaskedLM.logit_shift)
    own_attention(config)
    length = report.prompt_length + report.gen_length
    if report.context is not None and length > report.context:
        report.notes.append(
            f"a prompt of {report.prompt_length} and gen_length={report.gen_length} make {length} tokens, "
            f"the context holds {report.context}"
        )


def _weights(
    report: CheckpointReport,
    config: dict[str, Any],
    empty: Any,
    folder: Path,
    name: str,
    revision: str | None,
) -> None:
    headers = _headers(folder, name, revision)
    stored = stored_dtype(headers)
    dtype = own_dtype(config, stored)
    report.stored_dtype, report.dtype = dtype_name(stored), dtype_name(dtype)
    report.file_bytes = sum(header.bytes for header in headers.values())
    report.weights_bytes = (report.parameters or 0) * dtype.itemsize
    check_weights(name, empty, headers)


def _headers(folder: Path, name: str, revision: str | None) -> dict[str, Header]:
    """Headers of the files here; of a Hub id whose weights are not here, from the Hub."""
    if Path(name).is_dir() or commit_of(folder) is None or any(folder.glob("*.safetensors")):
        return read_headers(folder)
    from huggingface_hub import get_safetensors_metadata

    try:
        files = get_safetensors_metadata(name, revision=revision).files_metadata.values()
    except Exception as error:  # the network's own errors differ between versions of huggingface_hub
        raise LiftError(
            f"{name!r}: no {SINGLE} or {INDEX} in the cache, and the Hub cannot be asked for their headers "
            f"({first_line(error)})"
        ) from error
    return {
        tensor: Header(tuple(info.shape), dtype_of(info.dtype, name))
        for file in files
        for tensor, info in file.tensors.items()
    }


def _tokenizer(report: CheckpointReport, config: dict[str, Any], empty: Any, folder: Path) -> None:
    tokenizer = load_tokenizer(folder, config["model_type"])
    report.tokenizer_class, report.tokenizer_size = type(tokenizer).__name__, len(tokenizer)
    report.ids = resolve_ids(tokenizer, config, embedding_rows(empty), where=report.model)
    report.chat_template = bool(tokenizer.chat_template)
    if not report.chat_template:
        report.notes.append("no chat template: tasks that are posed as a chat are refused")
        return
    report.chat_example = check_template(tokenizer, report.model)
    id, token = end_of_turn_id(tokenizer), None
    if id is not None and id != tokenizer.unk_token_id:
        token = tokenizer.convert_ids_to_tokens(id)
    if token is None:
        raise LiftError(f"{report.model}: the chat template ends turns with a token the tokenizer has not")
    source = "end-of-text" if id == tokenizer.eos_token_id else "chat template"
    report.ids["end of turn"] = Special(id, token, source)


def _adapter(report: CheckpointReport, empty: Any, peft: str | None) -> None:
    if peft is None:
        return
    folder = str(find_adapter(peft))
    config = read_adapter_config(folder)
    shapes = adapter_shapes(folder)
    check_adapter(empty, folder)
    report.adapter = {
        "folder": peft,
        "kind": config.get("peft_type"),
        "r": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "target_modules": config.get("target_modules"),
        "parameters": sum(torch.Size(shape).numel() for shape in shapes.values()),
        "trained_on": config.get("base_model_name_or_path"),
    }
    trained_on = report.adapter["trained_on"]
    if trained_on and not same_base(trained_on, report.model):
        report.notes.append(f"the adapter was trained on {trained_on}, not on {report.model}")
    if why := cannot_fold(empty, folder):
        report.notes.append(f"the adapter stays beside the weights, and cannot be merged: {why}")


def _memory(report: CheckpointReport, empty: Any, target: Machine, memory: float | None, here: bool) -> None:
    if (shape := _shape(report, empty)) is None or report.weights_bytes is None:
        return
    columns = report.prompt_length + report.gen_length
    if shape.cached:  # a masked LM keeps nothing
        report.cache_bytes_per_token = shape.cached * shape.dtype_bytes
        report.cache_bytes_per_request = report.cache_bytes_per_token * columns
    if memory is not None:
        free = int(memory * 2**30), "--memory"
    else:
        free = free_memory() if here else (target.memory - target.reserved, target.name)
    report.free_bytes, report.free_on = free
    block = shape.block_size or default_block(report.gen_length)
    room = (report.free_bytes, columns, block)
    report.largest_batch = most_requests(shape, *room, with_cache=False, kind=target.kind)
    if shape.cached:
        report.largest_batch_with_cache = most_requests(shape, *room, with_cache=True, kind=target.kind)
    if report.largest_batch == 0:
        report.notes.append(
            f"does not fit: weights take {gib(report.weights_bytes)}, of {gib(report.free_bytes)} "
            f"({report.free_on}); use a smaller dtype, load_in_8bit or load_in_4bit"
        )


def _training(report: CheckpointReport, empty: Any, target: Machine, strategy: str) -> None:
    shape = _shape(report, empty)
    if shape is None or report.free_bytes is None:
        return
    length = min(TRAINED_ON, report.context or TRAINED_ON)
    shared = target.count if target.kind == "cpu" else 1
    each = replace(target, memory=report.free_bytes // shared + target.reserved)
    for name, lora in (("adapters", LoraSettings()), ("all weights", None)):
        how = Training(
            rows=TrainSettings().batch_size,
            length=length,
            supervised=length,
            lora=lora,
            bf16=True,
            checkpointing=True,
            processes=target.count,
            strategy=strategy,
            kind=target.kind,
        )
        said = training_verdict(shape, how, each)
        report.training[name] = f"{said} ({how.rows} rows of {length:,} tokens, bf16, checkpoints)"


def _shape(report: CheckpointReport, empty: Any) -> Shape | None:
    return None if report.dtype is None else shape_of(empty, getattr(torch, report.dtype).itemsize)


def free_memory() -> tuple[int, str]:
    """Free bytes, and of what: the GPU if there is one, else RAM."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0], "free on the GPU"
    return psutil.virtual_memory().available, "free RAM"


# ---------------------------------------------------------------- how it is shown


def model_lines(report: CheckpointReport) -> dict[str, str]:
    """What the model is, with its adapter."""
    shift = ", logits shifted by one" if report.logit_shift else ""
    blocks = f", blocks of {report.block_size}" if report.block_size else ""
    active = "" if report.active_parameters == report.parameters else f", {report.active_parameters:,} active"
    lines = {
        "type": f"{report.model_type} ({report.model_class}{shift}{blocks})",
        "parameters": f"{report.parameters:,}{active}",
    }
    if report.weights_bytes is not None and report.file_bytes is not None:
        files = f"stored as {report.stored_dtype}, {gib(report.file_bytes)}"
        lines["weights"] = f"{gib(report.weights_bytes)} as {report.dtype} ({files})"
    if report.adapter is not None:
        a = report.adapter
        settings = [f"{key}={a[key]}" for key in ("r", "alpha") if a[key] is not None]
        targets = a["target_modules"] or []
        on = targets if isinstance(targets, str) else ", ".join(sorted(targets))
        what = " ".join([str(a["kind"]), *settings, "on", on])
        lines["adapter"] = f"{what}; {a['parameters']:,} parameters; trained on {a['trained_on']}"
    lines["context"] = f"{report.context} tokens"
    return lines


def tokenizer_lines(report: CheckpointReport) -> dict[str, str]:
    """Special ids, tokenizer and chat template."""
    lines = {
        kind: f"{special.id} {special.token!r} (from {special.source})"
        for kind, special in report.ids.items()
    }
    if report.tokenizer_class is not None:
        sizes = f"{report.tokenizer_size:,} tokens for {report.embedding_rows:,} embedding rows"
        lines["tokenizer"] = f"{report.tokenizer_class}, {sizes}"
    if report.chat_template is not None:
        lines["chat template"] = "no" if report.chat_example is None else repr(report.chat_example)
    return lines


def memory_lines(report: CheckpointReport) -> dict[str, str]:
    """What requests take, and how many fit."""
    if report.free_bytes is None:
        return {}
    lengths = f"prompt {report.prompt_length} + {report.gen_length}"
    cache = "takes none"
    if report.cache_bytes_per_token is not None and report.cache_bytes_per_request is not None:
        each = f"{report.cache_bytes_per_request / 2**20:,.1f} MiB a request ({lengths})"
        cache = f"{report.cache_bytes_per_token / 1024:,.1f} KiB a token, {each}"
    batch = f"about {report.largest_batch:,} without a cache"
    if report.largest_batch_with_cache is not None:
        batch += f", {report.largest_batch_with_cache:,} with one"
    free = f"{gib(report.free_bytes)} {report.free_on}"
    lines = {"cache": cache, "largest batch": f"{batch} ({lengths}; {free})"}
    for name, verdict in report.training.items():
        lines[f"to train {name}"] = verdict
    return lines
