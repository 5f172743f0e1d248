"""What a checkpoint's small files say: its tokenizer and the shape of its model, without its weights."""

from __future__ import annotations

from typing import Any

from lift_harness.models.checkpoint import find_folder, member, read_json
from lift_harness.models.loading import DIFFUSION_GEMMA, embedding_rows, empty_model
from lift_harness.models.masked_lm import HEADS, MaskedLM
from lift_harness.models.tokenization import load_tokenizer, resolve_ids


def is_diffusion_gemma(name: str, revision: str | None = None) -> bool:
    """Whether a checkpoint's config.json says that it is one."""
    folder = find_folder(name, revision, weights=False)
    there = (folder / "config.json").is_file()
    return there and read_json(member(folder, "config.json")).get("model_type") == DIFFUSION_GEMMA


def shape_of(name: str, revision: str | None = None, block_size: int | None = None) -> Any:
    """A model on the meta device: its properties, and nothing to compute with."""
    config, empty = empty_model(find_folder(name, revision, weights=False), name, block_size)
    return MaskedLM(empty) if config["model_type"] in HEADS else empty


def tokenizer_of(
    name: str, revision: str | None = None, chat_template: str | None = None, **ids: int | None
) -> tuple[Any, int | None]:
    """The tokenizer of a model, its special ids resolved, and the model's context.

    Args:
        name: as `load_model` takes it; the others too.
        revision: of a Hub id.
        chat_template: file or text of a template, in place of the checkpoint's.
        ids: `mask_token_id` and the like, in place of the checkpoint's.
    """
    folder = find_folder(name, revision, weights=False)
    config, empty = empty_model(folder, name)
    tokenizer = load_tokenizer(folder, config["model_type"], chat_template)
    resolve_ids(tokenizer, config, embedding_rows(empty), where=name, **ids)
    tokenizer.name_or_path = name
    return tokenizer, getattr(empty.config, "max_position_embeddings", None)
