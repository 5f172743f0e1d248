"""The stages of an experiment: training one method, evaluating one checkpoint.

Each leaves its files in a folder of its own and returns what the tables need as plain data.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.evaluation import Scores, evaluate
from lift_harness.pipeline.recipe import EvalSettings, Method, NewModel, Recipe
from lift_harness.tasks.settings import expand, generation_settings

Progress = Callable[..., None]  # progress(done, total, note="")


def quiet() -> None:
    """Leave the terminal to our own progress display."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is first imported
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


# ---------------------------------------------------------------- training


def training_text(recipe: Recipe) -> list[Any]:
    """The recipe's training examples as text."""
    from lift_harness.training.synthetic import turns

    return [turn for part in recipe.data for turn in turns(part.source, part.n, part.seed, **part.options)]


def train_method(
    recipe: Recipe, text: Sequence[Any], method: Method, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train one method from the recipe's base model; saves to `folder` and describes what it saved.

    The result has `checkpoint` (folder), `sha256` of its weights, `loss` (history) and `parameters`.
    """
    from lift_harness.models.identity import weights_hash
    from lift_harness.training.data import tokenize
    from lift_harness.training.objectives import get_objective
    from lift_harness.training.trainer import train

    settings = recipe.training_of(method)
    options = dict(method.objective.model_extra or {})
    objective = get_objective(method.objective.name, **options)
    model, tokenizer = base_model(recipe, text)
    model, history = train(
        model,
        tokenizer,
        tokenize(text, tokenizer),
        objective,
        settings,
        folder / "steps",
        recipe.seed,
        [show_training(progress)],
    )
    kind = "adapter" if settings.lora else "checkpoint"
    save(model, tokenizer, folder / kind, recipe.model)
    return {
        "checkpoint": kind,
        "sha256": weights_hash(folder / kind),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "loss": [{"step": entry["step"], "loss": entry["loss"]} for entry in history],
    }


def base_model(recipe: Recipe, text: Sequence[Any]) -> tuple[Any, Any]:
    """The model that every method starts from, and its tokenizer."""
    from lift_harness.models import load_model

    if isinstance(recipe.model, NewModel):
        from transformers import set_seed

        from lift_harness.models.modeling_llada import LLaDAModelLM
        from lift_harness.models.tiny import tiny_config, train_tokenizer
        from lift_harness.tasks.prompts import GEN_PREFIX

        set_seed(recipe.seed)
        parts = ("user", "assistant", "\n\n", GEN_PREFIX)
        tokenizer = train_tokenizer(part for turn in text for part in (turn.user, *parts, turn.response))
        return LLaDAModelLM(tiny_config(tokenizer, **recipe.model.model_dump())), tokenizer
    return load_model(recipe.model)


def save(model: Any, tokenizer: Any, folder: Path, base: str | NewModel) -> None:
    """Write an adapter, or a whole checkpoint with its tokenizer."""
    if hasattr(model, "peft_config"):
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's unfilled model card
        file = folder / "adapter_config.json"
        config = read_json(file)
        # The recipe's name of the base, not this machine's path; and a set in an order that does not vary.
        config["base_model_name_or_path"] = str(base)
        config["target_modules"] = sorted(config["target_modules"])
        write_json(file, config)
    else:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        file = folder / "tokenizer_config.json"
        config = read_json(file)
        if config.get("tokenizer_class") == "TokenizersBackend":  # unknown to transformers 4
            write_json(file, {**config, "tokenizer_class": "PreTrainedTokenizerFast"})


def show_training(progress: Progress) -> Any:
    """A Trainer callback that reports optimiser steps and the last logged loss."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        note = ""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                self.note = f"loss {float(logs['loss']):.3f}"

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps, self.note)

    return Reporter()


# ---------------------------------------------------------------- evaluation


def evaluate_checkpoint(
    recipe: Recipe, settings: EvalSettings, checkpoint: Path | None, folder: Path, progress: Progress
) -> Scores:
    """Scores of the base model (`checkpoint` None), an adapter or a whole checkpoint, by task.

    Runs lm-eval once for `acc` and, when samples are asked for, once more for pass@k; its result and
    sample files go to `folder`.
    """
    from lift_harness.lm import LiftDLM

    assert isinstance(recipe.model, str)
    where: dict[str, Any] = {"pretrained": recipe.model}
    if checkpoint is not None:
        adapter = (checkpoint / "adapter_config.json").is_file()
        where = {**where, "peft": str(checkpoint)} if adapter else {"pretrained": str(checkpoint)}
    lm = LiftDLM(**where, batch_size=settings.batch_size)
    runs: list[tuple[str, int, int | None, dict[str, Any]]] = [("one", 1, settings.limit, {})]
    if settings.samples > 1:
        limit = settings.sample_limit or settings.limit
        runs.append(("samples", settings.samples, limit, {"temperature": settings.temperature}))
    tasks = expand(settings.tasks)
    scores: Scores = {task: {} for task in tasks}
    for label, repeats, limit, extra in runs:
        lm.on_progress = lambda done, total, label=label: progress(done, total, label)  # type: ignore[misc]
        found = evaluate(
            lm,
            tasks,
            label=label,
            samples=repeats,
            limit=limit,
            gen_kwargs={"seed": recipe.seed, **settings.gen_kwargs, **extra},
            output=folder,
        )
        for task, metrics in found.items():
            keep = (lambda name: True) if repeats == 1 else (lambda name: "@" in name)
            scores[task].update({name: value for name, value in metrics.items() if keep(name)})
    return scores


def check_tasks(settings: EvalSettings) -> None:
    """Refuse tasks and decoding settings that do not exist before anything is trained."""
    from lift_harness.decoding import DecodingConfig
    from lift_harness.tasks.protocol import load_task

    for task in expand(settings.tasks):
        load_task(task)
        DecodingConfig().replace(**{**generation_settings(task), **settings.gen_kwargs})


# ---------------------------------------------------------------- files


def read_json(file: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def write_json(file: Path, data: Any) -> None:
    """Write whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, file)


def prepare_output(folder: Path, recipe_text: str, resume: bool, overwrite: bool) -> None:
    """Make the output folder; an earlier run in it is resumed, overwritten or an error.

    Raises:
        LiftError: the folder holds another run, or something that is not a run.
    """
    import shutil

    resolved = folder / "recipe.yaml"
    if folder.exists() and not folder.is_dir():
        raise LiftError(f"output {str(folder)!r} is a file; give a folder with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not resolved.is_file():
            raise LiftError(
                f"output folder {str(folder)!r} holds files that are not a run; give another --output"
            )
        if overwrite:
            shutil.rmtree(folder)
        elif not resume:
            raise LiftError(
                f"output folder {str(folder)!r} holds another run; --resume continues it, --overwrite "
                "replaces it, --output chooses another folder"
            )
        elif resolved.read_text(encoding="utf-8") != recipe_text:
            raise LiftError(
                f"{str(resolved)!r} differs from this recipe, so its run cannot be continued; "
                "use the same recipe and --set values, or --overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    resolved.write_text(recipe_text, encoding="utf-8")
