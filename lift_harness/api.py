"""What `import lift_harness` offers: load a model and ask it, evaluate, train and evaluate a recipe.

Bad input is a `LiftError` of one line, as on the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lift_harness.compare import Comparison, compare
from lift_harness.compare.notebook import shown
from lift_harness.decoding import DecodingConfig
from lift_harness.decoding.config import merge
from lift_harness.errors import LiftError
from lift_harness.files import check_writable
from lift_harness.interactive.canvas import probability
from lift_harness.interactive.generate import described
from lift_harness.interactive.session import Message, Session, load_session


@dataclass(frozen=True)
class Generated:
    """An answer, and how it came about; a notebook shows it as a replay.

    Attributes:
        model: what was asked.
        text: the answer.
        prompt_tokens: length of what was asked.
        forward_passes: that it took.
        seconds: on the clock.
        settings: of decoding, all of them.
        ids: of its tokens; what stands after the end of the text, too.
        tokens: their texts.
        step: the pass that committed each, from 0.
        confidence: with which it did.
        replaced: edits of what was committed (`decoding.Generation`).
        target: the reference answer, where a problem of a task was posed (`LoadedModel.solve`).
        verdict: what the answer scores there: metric -> a share, or (right, empty) cells.
    """

    model: str
    text: str
    prompt_tokens: int
    forward_passes: int
    seconds: float
    settings: dict[str, Any] = field(repr=False)
    ids: list[int] = field(repr=False)
    tokens: list[str] = field(repr=False)
    step: list[int] = field(repr=False)
    confidence: list[float] = field(repr=False)
    replaced: Any = field(repr=False)
    target: str | None = None
    verdict: dict[str, Any] | None = None

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The replay of its decoding."""
        from lift_harness.report.replay import replay

        config = DecodingConfig.of(self.settings)
        sure = [round(probability(confidence, config), 3) for confidence in self.confidence]
        return replay(self.tokens, self.step, sure)


@dataclass
class LoadedModel(Session):
    """A model that answers.

    Attributes:
        name, model, tokenizer, settings, prefix: as `Session`.
        task, key: as `Session`.
        turns: the conversation of `chat`, messages of "role" and "content"; `turns.clear()` forgets it.
        loaded_as: the arguments of `load_model`.
    """

    turns: list[Message] = field(default_factory=list)
    loaded_as: dict[str, Any] = field(default_factory=dict)

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        raw: bool = False,
        **settings: Any,
    ) -> Generated:
        """Answer a prompt.

        Args:
            prompt: what the user says, or a conversation: messages of "role" and "content".
            system: the system's message before it.
            raw: decode after the text as it is, without the chat template.
            settings: of decoding, for this answer (`DecodingConfig`): temperature=0.7, ...

        Raises:
            LiftError: a bad setting, no chat template, or a prompt that has no room.
        """
        asked = replace(self, settings=merge(self.settings, settings))
        if raw:
            if system is not None or not isinstance(prompt, str):
                raise LiftError("raw=True takes a text, and leaves system out: both need the chat template")
            ids = asked.raw_prompt(prompt)
        else:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
            ids = asked.chat_prompt(messages, system)
        return Generated(**described(asked, asked.answer(ids)))

    def chat(self, text: str, **settings: Any) -> Generated:
        """Answer in the conversation so far; arguments and errors as `generate`."""
        question = {"role": "user", "content": text}
        answer = self.generate([*self.turns, question], **settings)
        self.turns += [question, {"role": "assistant", "content": answer.text}]
        return answer

    def solve(self, task: str, problem: int = 0, **settings: Any) -> Generated:
        """Answer a problem of a task, as an evaluation poses it, with its target and verdict.

        Args:
            task: its name, with or without `lift_`.
            problem: from 0: the `doc_id` of sample logs.
            settings: of decoding, above the task's.

        Raises:
            LiftError: no such task or problem, or a bad setting.
        """
        from lift_harness.interactive.problem import find_problem

        own = merge(self.settings, settings)
        posed = find_problem(task, problem, self.name, self.loaded_as, own)
        given = {"task": posed.task.decoding, "key": posed.request.key, "prefix": posed.prefix}
        asked = replace(self, settings=own, **given)
        answer = asked.answer(posed.request.prompt)
        judged = posed.verdict(self.tokenizer, answer.generation)
        return Generated(**described(asked, answer), target=posed.target, verdict=judged)


def load(model: str = "lift-tiny", *, prefix: str = "", **model_args: Any) -> LoadedModel:
    """Load a model to ask it.

    Args:
        model: folder, Hub id, or a model inside the package.
        prefix: what every answer is made to begin with.
        model_args: of `lift_harness.models.load_model`: peft, dtype, device, revision, ...

    Raises:
        LiftError: an unknown argument, or what `load_model` raises.
    """
    return LoadedModel(**vars(load_session(model, model_args, {}, prefix)), loaded_as=model_args)


def evaluate(
    model: str,
    tasks: str | Sequence[str],
    *,
    peft: str | None = None,
    samples: int | None = None,
    limit: int | None = None,
    preset: str | None = None,
    num_fewshot: int | None = None,
    batch_size: int | str = "auto",
    model_args: dict[str, Any] | None = None,
    output: str | Path | None = None,
    confirm_run_unsafe_code: bool = False,
    **settings: Any,
) -> Comparison:
    """Evaluate a checkpoint on the project's tasks, as `lift-harness eval` does.

    Args:
        model: folder, Hub id, or a model inside the package.
        tasks: names of tasks or groups.
        peft: folder or Hub id of an adapter.
        samples: answers a problem, for pass@k; None: as many as the task says.
        limit: problems a task; None: all.
        preset: a published protocol (docs/presets.md).
        num_fewshot: worked examples before each question; None: as the preset or the task's file says.
        batch_size: requests in a pass, or "auto".
        model_args: of `lift_dlm`.
        output: folder for lm-eval's results and sample logs; None: they are not kept.
        confirm_run_unsafe_code: run generated code even where no sandbox can be had.
        settings: of decoding, above the task's: gen_length=128, temperature=0.5, ...

    Returns:
        The values with their intervals; a notebook shows the tables.

    Raises:
        LiftError: whatever is wrong with these, before the model is loaded where possible.
    """
    from lift_harness.lm.evaluation import evaluate_model

    folder = None if output is None else Path(output)
    check_writable(folder, folder=True)
    rows = evaluate_model(
        model,
        tasks.split(",") if isinstance(tasks, str) else tasks,
        peft=peft,
        samples=samples,
        limit=limit,
        preset=preset,
        num_fewshot=num_fewshot,
        batch_size=str(batch_size),
        model_args=model_args or {},
        gen_kwargs=settings,
        output=folder,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
    return shown(compare(rows, differences=False))


def train_eval(
    recipe: str = "quickstart",
    *,
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **values: Any,
) -> Comparison:
    """Train every method of a recipe from one base model and evaluate all of them, as the command does.

    Args:
        recipe: name or YAML file.
        output: the run's folder; None: runs/NAME.
        resume: keep what is valid of another recipe's run in that folder. The same recipe always goes on.
        overwrite: replace what is in the folder.
        values: of the recipe: training={"max_steps": 20}, select=["vanilla"], **{"methods.1.objective.H": 2}.

    Returns:
        The values with their intervals, and the differences from the base model.

    Raises:
        LiftError: whatever is wrong with the recipe or the folder, before anything is written.
    """
    from lift_harness.pipeline import train_eval as run
    from lift_harness.pipeline.recipe import load_recipe

    loaded = load_recipe(recipe, values=values)
    folder = Path("runs") / loaded.name if output is None else Path(output)
    check_writable(folder, folder=True)
    results = run.train_eval(loaded, folder, resume=resume, overwrite=overwrite)
    return shown(compare(run.rows_of(folder, results)))
