"""What transformers is shown of a checkpoint: a folder of links to the files that are read, and nothing else.

In a folder it looks for more than it was asked for: an adapter beside the weights, shards of another kind,
Python files, other files that tokenizer_config.json names. What is not there can neither be run nor read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lift_harness.models.checkpoint import member, read_json

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
# Keys of tokenizer_config.json that name code, files, or arguments of a class beside its options.
NOT_SHOWN = (
    "auto_map",
    "backend",
    "custom_pipelines",
    "fast_tokenizer_files",
    "from_slow",
    "init_inputs",
    "is_local",
    "local_files_only",
    "name_or_path",
    "processor_class",
    "slow_tokenizer_class",
    "tokenizer_object",
    "trust_remote_code",
)


def bare_folder(folder: Path, names: Iterable[str]) -> TemporaryDirectory[str]:
    """A new folder with links to those of the files that are in `folder`; it goes with the returned object.

    Raises:
        LiftError: one that lies elsewhere, or is no file (`member`).
    """
    bare = TemporaryDirectory(prefix="lift-harness-")
    for name in names:
        if (folder / name).exists() or (folder / name).is_symlink():
            (Path(bare.name) / name).symlink_to(member(folder, name).resolve())
    return bare


def bare_tokenizer(
    folder: Path, model_type: str | None, tokenizer_class: str | None
) -> TemporaryDirectory[str]:
    """A new folder with what makes a tokenizer.

    Args:
        folder: the checkpoint.
        model_type: of its config.json, of which transformers sees no more.
        tokenizer_class: as one of the two files names it.
    """
    bare = bare_folder(folder, TOKENIZER_FILES)
    settings: dict[str, Any] = {}
    if (folder / "tokenizer_config.json").exists():
        settings = read_json(member(folder, "tokenizer_config.json"))
    shown = {key: value for key, value in settings.items() if is_shown(key)}
    if tokenizer_class is not None:
        shown["tokenizer_class"] = tokenizer_class
    (Path(bare.name) / "tokenizer_config.json").write_text(json.dumps(shown))
    if model_type is not None:
        (Path(bare.name) / "config.json").write_text(json.dumps({"model_type": model_type}))
    return bare


def is_shown(key: str) -> bool:
    """Whether a key of tokenizer_config.json is an option of the tokenizer and nothing more."""
    return key not in NOT_SHOWN and key[:1] != "_" and not key.endswith("_file")
