"""`lift-harness sweep` at work: every setting in a folder of its own, then what it comes to."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text

from lift_harness import __version__
from lift_harness.console import Console, visible
from lift_harness.files import files_sha256, write_json, write_whole
from lift_harness.models.checkpoint import find_folder
from lift_harness.models.identity import model_identity, weights_hash
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.evaluation import evaluate_model, evaluation_key, open_checkpoint, quiet
from lift_harness.pipeline.manifest import environment, stage_rows, task_sources
from lift_harness.pipeline.stages import Progress, no_trace_of_bad_input, prepare_output, run_stage
from lift_harness.report import write_report
from lift_harness.results.lock import sole_writer
from lift_harness.sweep.plan import plan
from lift_harness.sweep.schema import Sweep
from lift_harness.sweep.settings import (
    Checkpoint,
    Rows,
    Setting,
    checkpoints,
    rows_of,
    with_values,
)
from lift_harness.sweep.tables import Outcome, markdown, outcome_of, table


def run_sweep(
    sweep: Sweep,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate every setting of a sweep, and return what `results.json` holds.

    Args:
        sweep: what to do.
        output: the run's folder, laid out as train-eval's, with a setting in the place of a method.
        resume: keep what is valid of another sweep in that folder. The same sweep always goes on.
        overwrite: replace what is in the folder.
        console: where the run reports.

    Raises:
        LiftError: whatever is wrong with the sweep or the folder, before anything is written.
        Stopped: by a signal; the same call goes on.
    """
    quiet()
    # 1. Whatever is wrong is said, and what is left out named, before anything is loaded.
    rows = rows_of(sweep)
    models = {checkpoint: identity(checkpoint, sweep) for checkpoint in checkpoints(sweep)}
    with Display(console or Console()) as display, ExitStack() as cleanup:
        # 2. The folder, which is this run's alone.
        display.lead(lambda: cleanup.enter_context(sole_writer(output)))
        cleanup.enter_context(no_trace_of_bad_input(output))
        display.lead(lambda: prepare_output(output, sweep_text(sweep), resume, overwrite))
        title = Text.assemble((sweep.name, "bold"), f": {len(rows.settings)} settings\noutput: {output}")
        display.console.print(title)
        for note in rows.notes:
            display.console.print(f"  {note}", soft_wrap=True, highlight=False)
        # 3. Each setting, those of one model after the other.
        passes = {f"{one.name}/eval": float(one.passes) for one in plan(sweep, rows)}
        display.pace.expect(passes)
        loaded = Loaded(sweep)
        stages: dict[str, Any] = {}
        for setting in rows.settings:
            name, settings = setting.name, with_values(sweep, setting.values)
            key = evaluation_key(setting.checkpoint, settings, str(models[setting.checkpoint]))
            work = partial(loaded.evaluate, setting)
            stages[name] = run_stage(output / name, "eval", key, display, f"{name}/eval", work)
        # 4. What it comes to.
        results: dict[str, Any] = display.ask(partial(finish, output, sweep, rows, models, stages, display))
    return results


class Loaded:
    """The models of a sweep, one in memory at a time: loaded once, when its first setting is due."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.checkpoint: Checkpoint | None = None
        self.lm: Any = None

    def evaluate(self, setting: Setting, folder: Path, progress: Progress) -> dict[str, Any]:
        """Evaluate a model under a setting (`evaluate_model`)."""
        if self.checkpoint != setting.checkpoint:
            self.lm = None  # before the next one takes its place
            self.lm = open_checkpoint(setting.checkpoint, self.sweep, setting.checkpoint.adapter)
            self.checkpoint = setting.checkpoint
        settings = with_values(self.sweep, setting.values)
        return evaluate_model(self.lm, setting.checkpoint, settings, folder, progress)


def identity(checkpoint: Checkpoint, sweep: Sweep) -> dict[str, Any]:
    """A model for keys and the manifest: what `model_identity` says, and its adapter."""
    folder = find_folder(checkpoint.model, sweep.model_args.get("revision"))
    model = {**model_identity(folder, checkpoint.model), **checkpoint.loading}
    if adapter := checkpoint.adapter:
        model |= {"peft": checkpoint.peft, "peft_sha256": weights_hash(adapter)}
    return model


def sweep_text(sweep: Sweep) -> str:
    """The sweep as resolved, every default spelled out; `lift-harness sweep` takes it."""
    return yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


# ---------------------------------------------------------------- results


def finish(
    output: Path,
    sweep: Sweep,
    rows: Rows,
    models: dict[Checkpoint, dict[str, Any]],
    stages: dict[str, Any],
    display: Display,
) -> dict[str, Any]:
    """Write and print what sums the run up; what `results.json` holds."""
    outcome = outcome_of(output, rows)
    results = summary(sweep, rows, stages, outcome)
    write_json(output / "results.json", results)
    made_of = manifest(sweep, stages, list(models.values()))
    made_of["results_sha256"] = files_sha256(output / "results.json")
    write_json(output / "manifest.json", made_of)
    write_whole(output / "report.md", visible(markdown(sweep, rows.notes, outcome)))
    write_report(output)
    display.console.print(table(outcome, display.console.width))
    return results


def summary(sweep: Sweep, rows: Rows, stages: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """What `results.json` holds.

    All but what stands under "measured" is the same however often the run was interrupted.
    """
    return {
        "sweep": sweep.name,
        "version": __version__,
        "scores": {name: stage["result"] for name, stage in stages.items()},
        "rows": [
            {
                "name": setting.name,
                "model": setting.checkpoint.model,
                **({"peft": setting.checkpoint.peft} if setting.checkpoint.peft else {}),
                "setting": setting.values,
                **outcome.of_row(setting.name),
            }
            for setting in rows.settings
        ],
        "notes": rows.notes,
    }


def manifest(sweep: Sweep, stages: dict[str, Any], models: list[dict[str, Any]]) -> dict[str, Any]:
    """What the run was made of, as train-eval's manifest says it."""
    made_in = environment()
    return {
        **made_in,
        "sweep": sweep.model_dump(mode="json"),
        "model": models[0] if len(models) == 1 else models,
        "tasks": task_sources(checkpoints(sweep)[0], sweep),
        "seeds": [sweep.seed],
        "stages": stage_rows({f"{name}/eval": stage for name, stage in stages.items()}, made_in["hardware"]),
    }
