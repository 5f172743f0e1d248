"""The training stage of an experiment: one method, one seed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lift_harness.files import give_usual_modes, read_json, write_json, write_whole
from lift_harness.pipeline.schema import Method, NewModel, Recipe
from lift_harness.pipeline.stages import CARD, Progress, stage_key
from lift_harness.results.layout import method_folder


def check_training(recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    """The training data (`training.sources.Data`), and the model as the manifest names it.

    Weights are looked at, not loaded.

    Raises:
        LiftError: whatever is wrong with methods, data or model, before anything is written.
    """
    from lift_harness.models.checkpoint import find_folder, read_headers
    from lift_harness.models.identity import model_identity
    from lift_harness.models.loading import check_weights, empty_model
    from lift_harness.models.tiny import tiny_config
    from lift_harness.pipeline.data import check_methods, check_settings, recipe_data, split_records

    for method in recipe.methods:
        method.build_objective()
    tokenizer, context, data = recipe_data(recipe)
    if isinstance(recipe.model, NewModel):
        context = tiny_config(tokenizer, **recipe.model.shape).max_position_embeddings
        model = {"name": None, "new": recipe.model.shape}
    else:
        folder = find_folder(recipe.model)
        check_weights(recipe.model, empty_model(folder, recipe.model)[1], read_headers(folder))
        model = {**model_identity(folder, recipe.model), **recipe.loading}
    check_settings(recipe, context)
    split_records(recipe, data.records)
    check_methods(recipe, data.records, tokenizer, context)
    return data, model


def training_key(recipe: Recipe, method: Method, seed: int, data: Any, model: dict[str, Any]) -> str:
    """What a training depends on."""
    from lift_harness import __version__

    return stage_key(
        version=__version__,
        model=model,
        data=data.sha256,
        validation=recipe.validation or 0,  # the default's 0 is 0.0 in a recipe that was written and read
        recipe_seed=recipe.seed,  # of the split, and of a new model
        objective=method.objective.model_dump(),
        training=recipe.training_of(method).model_dump(),
        seed=seed,
    )


def train_method(
    recipe: Recipe, data: Any, method: Method, seed: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train one method from the recipe's base model; saves to `folder` and describes what it saved.

    Returns:
        {"result": {"checkpoint" (folder), "sha256" of its weights, "parameters", "loss" and "eval_nelbo"
        (histories), "data" (counts)}, "cost": {"forward_passes" (of sequences), "tokens", ...}}.
    """
    from lift_harness.hub.card import Training, card
    from lift_harness.models.identity import weights_hash
    from lift_harness.pipeline.data import method_examples, split_records
    from lift_harness.pipeline.hardware import peak_memory
    from lift_harness.ranks import Ranks
    from lift_harness.training import checkpoints
    from lift_harness.training.fine_tuning import train

    settings, objective = recipe.training_of(method), method.build_objective()
    model, tokenizer = base_model(recipe, data.records)
    context = model.config.max_position_embeddings
    records, held_out = split_records(recipe, data.records)
    examples, counts = method_examples(records, tokenizer, settings, context, objective)
    validation = method_examples(held_out, tokenizer, settings, context, objective)[0] if held_out else []
    model, history = train(
        model,
        tokenizer,
        examples,
        objective,
        settings,
        folder,
        seed,
        [show_training(progress, len(validation))],
        validation=validation,
        resume=True,  # what is there has the same key
        tracked=tracked(recipe, method, seed, folder),
    )
    kind, ranks = "adapter" if settings.lora else "checkpoint", Ranks(None)
    if ranks.rank == 0:
        save_weights(model, tokenizer, folder / kind, recipe.model)
        write_whole(folder / kind / CARD, card(Training(recipe, method, seed)))
        if settings.save_total_limit is not None:
            checkpoints.remove_old(folder, keep=0, best=None)
    ranks.barrier()
    result = {
        "checkpoint": kind,
        "sha256": weights_hash(folder / kind),
        "parameters": trained_parameters(model),
        "loss": logged(history, "loss"),
        "eval_nelbo": logged(history, "eval_nelbo"),
        "data": {**counts.manifest(), "validation": len(validation)},
    }
    passes = read_json(folder / "passes.json")
    return {"result": result, "cost": {**passes, "peak_memory_bytes": peak_memory()}}


def tracked(recipe: Recipe, method: Method, seed: int, folder: Path) -> Any:
    """What experiment trackers call a training: by its method and seed, in the group of the run's folder."""
    from lift_harness.training.tracking import Tracked

    name = method_folder(method.name, seed, recipe.seeds)
    run = folder.resolve().parents[len(Path(name).parts)]
    config = {"recipe": recipe.name, "method": method.name, "seed": seed, "base": str(recipe.model)}
    return Tracked(name, run.name, {**config, "objective": method.objective.model_dump()})


def training_work(recipe: Recipe, method: Method, records: int, with_blocks: bool) -> float:
    """The work of a training on so many records, in forward passes of a row.

    A backward pass counts as two; with adapters as one, since their base has no gradient. A model with blocks
    passes over the clean text, too.
    """
    settings = recipe.training_of(method)
    trained, scored = method.build_objective().passes
    step = settings.batch_size * settings.gradient_accumulation_steps
    rows = settings.max_steps * step if settings.max_steps else records * settings.epochs
    return rows * ((trained + with_blocks) * (2 if settings.lora else 3) + scored)


def trained_parameters(model: Any) -> int:
    """How many numbers are trained; of a parameter in parts (ZeRO-3) all of them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in trained)


def logged(history: list[dict[str, float]], name: str) -> list[dict[str, float]]:
    """The steps at which something was logged, and what."""
    return [{"step": line["step"], name: line[name]} for line in history if name in line]


def base_model(recipe: Recipe, records: Any) -> tuple[Any, Any]:
    """The model that every method starts from, and its tokenizer."""
    from lift_harness.models import load_model

    if isinstance(recipe.model, NewModel):
        from transformers import set_seed

        from lift_harness.models.families import MODEL_CLASSES
        from lift_harness.models.tiny import tiny_config
        from lift_harness.pipeline.data import new_tokenizer

        set_seed(recipe.seed)
        tokenizer = new_tokenizer(records)
        config = tiny_config(tokenizer, **recipe.model.shape)
        return MODEL_CLASSES[config.model_type](config), tokenizer
    return load_model(recipe.model, **recipe.loading)


def save_weights(model: Any, tokenizer: Any, folder: Path, base: str | NewModel) -> None:
    """Write an adapter, or a whole checkpoint with its tokenizer, and nothing of an earlier attempt."""
    shutil.rmtree(folder, ignore_errors=True)
    if hasattr(model, "peft_config"):
        save_adapter(model, folder, base)
    else:
        save_checkpoint(model, tokenizer, folder)
    give_usual_modes(folder)


def save_adapter(model: Any, folder: Path, base: str | NewModel) -> None:
    """Write an adapter, its configuration the same on every machine."""
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / CARD).unlink(missing_ok=True)  # peft's, unfilled
    file = folder / "adapter_config.json"
    config = read_json(file)
    # The recipe's name of the base, not this machine's path; and a set in an order that does not vary.
    config["base_model_name_or_path"] = str(base)
    config["target_modules"] = sorted(config["target_modules"])
    write_json(file, config)


def save_checkpoint(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a whole checkpoint with its tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = read_json(file)
    if config.get("tokenizer_class") == "TokenizersBackend":  # unknown to transformers 4
        write_json(file, {**config, "tokenizer_class": "PreTrainedTokenizerFast"})


def show_training(progress: Progress, validation: int) -> Any:
    """A Trainer callback that reports optimiser steps, what was last logged, and validations as they go."""
    from transformers import TrainerCallback

    shown = {
        "loss": "loss {:.3f}",
        "learning_rate": "lr {:.1e}",
        "regime_hardest": "hardest {:.0%}",
        "regime_easiest": "easiest {:.0%}",
        "eval_nelbo": "NELBO {:.3f}",
    }

    class Reporter(TrainerCallback):
        notes: dict[str, str] = {}
        evaluated = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps, kept=True)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            notes = {name: form.format(logs[name]) for name, form in shown.items() if name in (logs or {})}
            self.notes = {**self.notes, **notes}

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps, ", ".join(self.notes.values()))

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.evaluated += 1
            of = len(range(args.process_index, validation, args.world_size))  # this process's
            progress(state.global_step, state.max_steps, f"validation {self.evaluated}/{of}")

        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.evaluated = 0

    return Reporter()
