"""`merge`: a base checkpoint and an adapter as one checkpoint in the official format.

What the official code needs of the base (config.json, tokenizer, its Python files) is copied as it is; the
weights keep their names. The result appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch

from lift_harness.errors import LiftError, first_line
from lift_harness.files import give_usual_modes
from lift_harness.models.adapters import cannot_fold, check_adapter
from lift_harness.models.checkpoint import (
    dtype_name,
    find_adapter,
    find_folder,
    member,
    read_headers,
    read_json,
    stored_dtype,
)
from lift_harness.models.configuration_experts import LLaDA2Config
from lift_harness.models.families import STACKED_TYPE
from lift_harness.models.loading import check_dtype, empty_model, load_model

NOT_COPIED = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "README.md", ".*")


def merge(
    base: str,
    adapter: str,
    out: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    max_shard_size: str = "5GB",
    revision: str | None = None,
) -> Path:
    """Write base plus adapter to the folder `out`; returns it.

    Args:
        base: as `load_model`'s name.
        adapter: folder or Hub id of an adapter of peft.
        out: a folder that does not exist yet, or is empty.
        dtype: of the written weights; "auto": that of the base's files.
        max_shard_size: of one weights file.
        revision: of a Hub id.

    Raises:
        LiftError: as `load_model`; the adapter cannot be folded; or `out` is in use or cannot be written.
    """
    out = Path(out)
    check_free(out)
    adapter = str(find_adapter(adapter))
    folder = find_folder(base, revision)
    small_files(folder)  # refuses what lies elsewhere
    _, empty = empty_model(folder, base)
    check_adapter(empty, adapter)
    if why := cannot_fold(empty, adapter):
        raise LiftError(
            f"adapter {adapter!r} cannot be merged: {why}; load it beside the base (peft={adapter})"
        )
    stored = stored_dtype(read_headers(folder))
    target = check_dtype(dtype) or stored
    # Sums are rounded once: made at the wider of the two.
    widest = target if target.itemsize > stored.itemsize else stored
    model, _ = load_model(base, dtype=widest, device="cpu", revision=revision, peft=adapter)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        model.to(target).save_pretrained(partial, max_shard_size=max_shard_size)
        copy_small_files(folder, partial, target)
        give_usual_modes(partial)
        if out.is_dir():
            out.rmdir()  # empty: checked again by this
        partial.rename(out)
    except OSError as error:
        raise LiftError(f"cannot write {str(out)!r}: {first_line(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def check_free(out: Path) -> None:
    """Refuse to write over anything."""
    if out.is_dir() and any(out.iterdir()):
        raise LiftError(f"{str(out)!r} is not empty; give a new folder")
    if out.exists() and not out.is_dir():
        raise LiftError(f"{str(out)!r} is a file; give a new folder")


def small_files(folder: Path) -> list[Path]:
    """The files of a checkpoint beside its weights.

    Raises:
        LiftError: one that is a link to another place (`member`).
    """
    files = [file for file in folder.iterdir() if file.is_file()]
    kept = [file for file in files if not any(file.match(pattern) for pattern in NOT_COPIED)]
    return [member(folder, file.name) for file in kept]


def copy_small_files(folder: Path, to: Path, dtype: torch.dtype) -> None:
    """Everything of the base but its weights, in place of what transformers wrote."""
    for file in [*to.iterdir()]:
        if file.suffix == ".json" and not file.name.endswith(".index.json"):
            file.unlink()
    for file in small_files(folder):
        shutil.copyfile(file, to / file.name)  # follows the links of the Hub's cache
    config = read_json(to / "config.json")
    written = dtype_name(dtype)
    keys: list[str] = [key for key in ("dtype", "torch_dtype") if key in config and config[key] != written]
    changed = dict.fromkeys(keys, written)
    if config.get("model_type") == STACKED_TYPE:  # its experts are written one by one
        changed["model_type"] = LLaDA2Config.model_type
    if changed:
        (to / "config.json").write_text(json.dumps(config | changed, indent=2) + "\n")
