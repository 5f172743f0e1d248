"""Where decoding settings meet the model: its published ones, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lift_harness.decoding.caches import AUTO, OF_BLOCKS
from lift_harness.decoding.config import UNSET, DecodingConfig, merge
from lift_harness.decoding.schedules import EDITING
from lift_harness.errors import LiftError


def settings_for(
    model: Any, *sources: Mapping[str, Any], task: Mapping[str, Any] | None = None
) -> DecodingConfig:
    """The settings of a request to a model, whole.

    Args:
        model: loaded, or on the meta device.
        sources: what was asked for, the weakest first (`DecodingConfig.of`).
        task: settings of the task, weaker; how a model with blocks is decoded follows from the model
            (`published`), which is stronger than these.

    Raises:
        LiftError: settings that are wrong, or that the model does not take.
    """
    return resolve(DecodingConfig.of(asked_for(model, *sources, task=task)), model)


def asked_for(
    model: Any, *sources: Mapping[str, Any], task: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The same as far as anybody says it, and unchecked."""
    return merge(task or {}, published(model), *sources)


def published(model: Any) -> dict[str, Any]:
    """How the authors of a model with blocks decode it; nothing for any other."""
    size = getattr(model, "block_size", None)
    if size is None:
        return {}
    return {"block_length": size, "steps": UNSET, "cache": AUTO, **model.decoding}


def exactness(config: DecodingConfig, model: Any) -> str:
    """What the answers are beside the published decoding's: "exact", "approximate" or "other schedule".

    Exact: each token comes from a pass over all that the model sees of the canvas. Approximate: a cache keeps
    what later tokens would change. Another schedule than the model's published one is exact in this sense,
    and gives other answers.
    """
    if not config.exact:
        return "approximate"
    usual = published(model).get("schedule", "fixed")
    return "exact" if config.schedule == usual else "other schedule"


def resolve(config: DecodingConfig, model: Any) -> DecodingConfig:
    """Settings with a cache of the model in place of `auto`.

    Raises:
        LiftError: a cache of the other kind of model or for a model that takes none, edits by a model with
            shifted logits, blocks of another length than the model's, speculation in blocks.
    """
    name, size = type(model).__name__, getattr(model, "block_size", None)
    if config.cache == AUTO:
        config = config.replace(cache="none" if size is None else "blocks")
    if config.cache != "none" and getattr(model, "cache_shape", None) is None:
        raise LiftError(f"cache={config.cache!r}: {name} has no key/value cache; use cache=none")
    if config.schedule in EDITING and getattr(model, "logit_shift", 0) > 0:
        raise LiftError(
            f"schedule={config.schedule!r} edits tokens where they stand, and {name} predicts each "
            "one position before; use another schedule"
        )
    if size is None:
        if config.cache in OF_BLOCKS:
            raise LiftError(
                f"cache={config.cache!r} is for models with blocks, and {name} is bidirectional; "
                "use cache=none, prefix or dual"
            )
        return config
    if config.block_length != size:
        raise LiftError(
            f"block_length={config.block_length} is not the model's: this {name} has block_size={size}; "
            f"leave block_length out, or load the model with block_size={config.block_length}"
        )
    if config.cache not in ("none", *OF_BLOCKS):
        raise LiftError(
            f"cache={config.cache!r} is for bidirectional models, and this {name} has blocks; "
            "use cache=auto, which is exact"
        )
    if config.speculate > 1:
        raise LiftError(
            f"speculate={config.speculate} drafts on whole canvases, and this {name} has blocks; "
            "use speculate=1"
        )
    return config
