"""The training data of a recipe, ready for a method: what training and its preview both do first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.without_weights import tokenizer_of
from lift_harness.pipeline.schema import Recipe
from lift_harness.training.data import Example, TokenCounts, least, token_counter, tokenize
from lift_harness.training.objectives import Objective
from lift_harness.training.settings import TrainSettings
from lift_harness.training.sources import Data, Record, load_data, validation_split


def recipe_data(recipe: Recipe) -> tuple[Any, int | None, Data]:
    """(tokenizer, context, data) of a recipe; of its model only the small files are read.

    A new model's tokenizer is made from the data, and its context is None.
    """
    if not isinstance(recipe.model, str):
        data = load_data(recipe.data)
        return new_tokenizer(data.records), None, data
    tokenizer, context = tokenizer_of(recipe.model)
    return tokenizer, context, load_data(recipe.data, token_counter(tokenizer))


def split_records(recipe: Recipe, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """(train, validation) records of a recipe."""
    return validation_split(records, recipe.validation, recipe.seed)


def limits(settings: TrainSettings, context: int | None, objective: Objective) -> dict[str, Any]:
    """How a method's examples are tokenised: the arguments of `tokenize`.

    Args:
        settings: of training (`max_length`, `long`, `pad_to`, `pack_to`).
        context: the model's; nothing longer is trained on.
        objective: the method's; some need to know the priority tokens.
    """
    return {
        "max_length": least(context, settings.pad_to, settings.pack_to, settings.max_length),
        "long": settings.long,
        "priority": "auto" if objective.priority else None,
    }


def method_examples(
    records: Sequence[Record],
    tokenizer: Any,
    settings: TrainSettings,
    context: int | None,
    objective: Objective,
) -> tuple[list[Example], TokenCounts]:
    """The examples that a method trains on, and what became of the records; arguments as for `limits`."""
    counts = TokenCounts()
    return tokenize(records, tokenizer, counts=counts, **limits(settings, context, objective)), counts


def check_methods(recipe: Recipe, records: Sequence[Record], tokenizer: Any, context: int | None) -> None:
    """Tokenise the records as every method will, once for methods that do it alike.

    Raises:
        LiftError: a record that a method refuses.
    """
    seen = []
    for method in recipe.methods:
        how = limits(recipe.training_of(method), context, method.build_objective())
        if how not in seen:
            seen.append(how)
            check_priority(tokenize(records, tokenizer, **how))


def check_priority(examples: Sequence[Example]) -> None:
    """Refuse data in which no token is a priority token, or all are, where a method asks which ones are.

    Raises:
        LiftError: so it is; the method would mask all tokens alike.
    """
    flags = [example.priority for example in examples if example.priority is not None]
    if flags and not any(map(any, flags)):
        raise LiftError(
            f"no token of the {len(flags)} examples is a priority token, so all would be masked alike; mark "
            "them (priority_spans), name the rules (data: priority: math or code), or raise priority_share"
        )
    if flags and all(all(of_one[:-1]) for of_one in flags):  # but for the end of turn
        raise LiftError(
            f"every token of the {len(flags)} examples is a priority token, so all would be masked alike; "
            "mark fewer (priority_spans)"
        )


def check_settings(recipe: Recipe, context: int | None) -> None:
    """Refuse training settings that would be refused when it begins, after the base model's evaluation.

    Raises:
        LiftError: an unknown tracker, nothing to evaluate on, modules that the model lacks, noise of blocks
            or shared rows without blocks, rows longer than the context.
    """
    from lift_harness.training.fine_tuning import check_packing, check_router, check_validation
    from lift_harness.training.tracking import check_trackers

    name, empty = recipe.model if isinstance(recipe.model, str) else "the new model", without_weights(recipe)
    modules = [module for module, _ in empty.named_modules()]
    for method in recipe.methods:
        method.build_objective().check_model(empty)
        settings = recipe.training_of(method)
        check_trackers(settings.report_to)
        check_validation(settings, bool(recipe.validation))
        if context and settings.pad_to and settings.pad_to > context:
            raise LiftError(
                f"training.pad_to={settings.pad_to} is more than the model's context of {context}"
            )
        check_router(empty, settings)
        check_packing(empty, settings)
        for wanted in settings.lora.target_modules or () if settings.lora else ():
            check_module(wanted, modules, name)


def block_size_of(recipe: Recipe) -> int | None:
    """Columns of a block of the recipe's model; None: bidirectional."""
    return getattr(without_weights(recipe), "block_size", None)


def without_weights(recipe: Recipe) -> Any:
    """The recipe's model on the meta device; a new one as it would be with the smallest vocabulary.

    Raises:
        LiftError: no such model, or its files have blocks of another size than the recipe says.
    """
    import torch

    from lift_harness.models.checkpoint import find_folder
    from lift_harness.models.families import MODEL_CLASSES
    from lift_harness.models.loading import empty_model
    from lift_harness.models.tiny import tiny_config, train_tokenizer

    if isinstance(recipe.model, str):
        folder, wanted = find_folder(recipe.model, weights=False), recipe.block_size
        own = getattr(empty_model(folder, recipe.model)[1], "block_size", None)
        if wanted is not None and own not in (None, wanted):
            raise LiftError(
                f"block_size={wanted}: the blocks of {recipe.model} have {own} columns, with which it was "
                "trained; leave it out"
            )
        return empty_model(folder, recipe.model, wanted)[1]
    config = tiny_config(train_tokenizer(()), **recipe.model.shape)
    with torch.device("meta"):
        return MODEL_CLASSES[config.model_type](config)


def check_module(wanted: str, modules: Sequence[str], model: str) -> None:
    """Refuse an adapter on a module that the model has not; peft matches the ends of dotted names."""
    if any(f".{module}".endswith(f".{wanted}") for module in modules):
        return
    last_parts = {module.rpartition(".")[2] for module in modules}
    known = [part for part in last_parts if part and not part.isdigit()]  # layers are numbered
    raise LiftError(f"training.lora.target_modules: {model} has no {wanted!r}; {did_you_mean(wanted, known)}")


def new_tokenizer(records: Sequence[Record]) -> Any:
    """The tokenizer that training a new model on these records makes."""
    from lift_harness.models.tiny import train_tokenizer
    from lift_harness.tasks.prompts import GEN_PREFIX

    parts = ("user", "assistant", "\n\n", GEN_PREFIX)
    return train_tokenizer(part for record in records for part in (record.user, *parts, record.response))
