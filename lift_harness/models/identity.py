"""What a checkpoint is, by its content: so that results of one are never taken for another's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lift_harness.models.loading import BUILT_IN

WEIGHTS = ("*.safetensors", "*.bin")


def weights_hash(folder: str | Path) -> str:
    """sha256 of the weights files of a folder, in name order."""
    digest = hashlib.sha256()
    for pattern in WEIGHTS:
        for file in sorted(Path(folder).glob(pattern)):
            with file.open("rb") as handle:
                while chunk := handle.read(2**22):
                    digest.update(chunk)
    return digest.hexdigest()


def model_identity(model: Any, pretrained: str) -> dict[str, Any]:
    """A base model for keys and manifests: {"name", "revision" (of the Hub), "sha256" (of a folder)}."""
    folder = BUILT_IN.get(pretrained, Path(pretrained))
    return {
        "name": pretrained,
        "revision": getattr(model.config, "_commit_hash", None),
        "sha256": weights_hash(folder) if folder.is_dir() else None,
    }


def checkpoint_id(model: Any, pretrained: str, peft: str | None = None) -> str:
    """Hash of the weights in a folder, or id and commit on the Hub; with that of an adapter.

    Args:
        model: as loaded; its configuration knows the commit of a Hub checkpoint.
        pretrained: as given to `load_model`.
        peft: folder of an adapter.
    """
    folder = BUILT_IN.get(pretrained, Path(pretrained))
    if folder.is_dir():
        base = weights_hash(folder)
    else:
        base = f"{pretrained}@{getattr(model.config, '_commit_hash', None)}"
    return base if peft is None else f"{base}+{weights_hash(peft)}"
