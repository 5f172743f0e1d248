"""What a checkpoint is, by its content: so that results of one are never taken for another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lift_harness.files import files_sha256
from lift_harness.models.checkpoint import BUILT_IN, commit_of, find_adapter

WEIGHTS = ("*.safetensors", "*.bin")


def weights_hash(folder: str | Path) -> str:
    """sha256 of the weights files of a folder, in name order."""
    return files_sha256(*(file for pattern in WEIGHTS for file in sorted(Path(folder).glob(pattern))))


def model_identity(folder: Path, name: str) -> dict[str, Any]:
    """A base model for keys and manifests: {"name", "revision" (of the Hub), "sha256" (of a folder)}.

    Args:
        folder: where `find_folder` found it.
        name: as it was asked for.
    """
    commit = commit_of(folder)
    local = name in BUILT_IN or Path(name).is_dir()
    return {"name": name, "revision": commit, "sha256": weights_hash(folder) if local else None}


def checkpoint_id(model: Any, pretrained: str, peft: str | None = None) -> str:
    """Hash of the weights in a folder, or id and commit on the Hub; with that of an adapter.

    Args:
        model: as loaded; its configuration knows the commit of a Hub checkpoint.
        pretrained: as given to `load_model`.
        peft: folder or Hub id of an adapter.
    """
    folder = BUILT_IN.get(pretrained, Path(pretrained))
    if folder.is_dir():
        base = weights_hash(folder)
    else:
        base = f"{pretrained}@{getattr(model.config, '_commit_hash', None)}"
    return base if peft is None else f"{base}+{weights_hash(find_adapter(peft))}"
