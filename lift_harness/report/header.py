"""The head of the page: what was run, with what, on what, and how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Any

from lift_harness import __version__
from lift_harness.report.answers import Problem
from lift_harness.report.embed import Cut
from lift_harness.report.run import Run
from lift_harness.results.logs import mapping, number

Fact = tuple[str, str]


def header(run: Run, problems: Sequence[Problem]) -> dict[str, Any]:
    """Name, description, facts, commands and the recipe's text."""
    folder = run.folder.resolve().name
    name = run.recipe.get("name") or run.results.get("recipe") or folder
    commands = []
    if run.manifest and not run.is_sweep:
        commands.append(("run it again and compare every number", f"lift-harness reproduce {quote(folder)}"))
    if run.recipe_text:
        again = f"{quote(folder + '/recipe.yaml')} --output {quote(folder + '-again')}"
        command = "sweep" if run.is_sweep else "train-eval"
        commands.append(("run it again", f"lift-harness {command} {again}"))
    commands.append(("make this page again", f"lift-harness report {quote(folder)}"))
    return {
        "name": Cut(200)(str(name)),
        "description": Cut(10_000)(str(run.recipe.get("description") or "")),
        "facts": known(facts(run, problems)),
        "details": known(details(run)),
        "commands": commands,
        "recipe": Cut(200_000)(run.recipe_text),
    }


def known(facts: Iterator[Fact]) -> list[Fact]:
    """Those of which there is something to say."""
    return [(name, Cut(20_000)(text)) for name, text in facts if text]


def facts(run: Run, problems: Sequence[Problem]) -> Iterator[Fact]:
    """What everybody wants to know."""
    yield "model", model(run)
    what = "settings" if run.is_sweep else "methods"
    yield what, ("; " if run.is_sweep else ", ").join(row for row in run.names if row != "base")
    yield "seeds", seeds(run)
    counts = Counter(problem.task for problem in problems)
    yield "problems", ", ".join(f"{task} {n:,}" for task, n in counts.items())
    yield "protocol", protocol(run)
    yield "hardware", hardware(mapping(run.manifest.get("hardware")))
    code = mapping(run.manifest.get("code"))
    commit = str(code.get("git_commit") or "")[:12]
    dirty = " with uncommitted changes" if code.get("git_dirty") else ""
    version = str(code.get("version") or run.results.get("version") or "")
    yield "lift-harness", version + (f", commit {commit}{dirty}" if commit else "")


def model(run: Run) -> str:
    """The base model with its revision."""
    of_manifest = mapping(run.manifest.get("model"))
    name = of_manifest.get("name") or run.recipe.get("model") or run.manifest.get("model") or ""
    revision = of_manifest.get("revision")
    return flat(name) + (f", revision {revision}" if revision else "")


def hardware(machine: dict[str, Any]) -> str:
    """GPUs and processor in a few words."""
    gpus = machine.get("gpus")
    counts = Counter(map(str, gpus if isinstance(gpus, list) else ()))
    parts = [f"{count} x {name}" for name, count in counts.items()]
    if machine.get("cpu"):
        cores = number(machine.get("cores"))
        parts.append(f"{machine['cpu']}" + (f", {cores:g} cores" if cores else ""))
    return "; ".join(parts) or flat(machine)


def seeds(run: Run) -> str:
    """The seeds of the run."""
    return flat(run.manifest.get("seeds") or run.recipe.get("seeds") or run.recipe.get("seed"))


def protocol(run: Run) -> str:
    """How many answers a problem."""
    settings = run.recipe if run.is_sweep else mapping(run.recipe.get("eval"))
    if not settings:
        return ""
    whose = "each row's" if run.is_sweep else "each task's own"
    text = f"acc from one answer a problem under {whose} settings"
    samples = settings.get("samples")
    if isinstance(samples, int) and samples > 1:
        text += f"; pass@k from {samples} answers at temperature {settings.get('temperature')}"
    return text


def details(run: Run) -> Iterator[Fact]:
    """What one looks up."""
    yield "sha256 of the model", str(mapping(run.manifest.get("model")).get("sha256") or "")
    for row, training in mapping(run.results.get("training")).items():
        yield f"sha256 of {row}", weights(training)
    data = run.manifest.get("data")
    if isinstance(data, dict):
        yield "sha256 of the data", str(data.get("sha256") or "")
    sources = data.get("sources") if isinstance(data, dict) else data
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            about = dict(source)
            yield f"data: {about.pop('source', '')}", flat(about)
    for task, about in mapping(run.manifest.get("tasks")).items():
        yield f"task: {task}", flat(about)
    yield "hardware", flat(run.manifest.get("hardware"))
    yield "packages", flat(run.manifest.get("packages"))
    yield "page made by", f"lift-harness {__version__}"


def weights(training: Any) -> str:
    """The hash of one trained row, or of each of its seeds."""
    if "sha256" in mapping(training):
        return str(training["sha256"])
    hashes = {seed: mapping(of_seed).get("sha256") for seed, of_seed in mapping(training).items()}
    return ", ".join(f"seed {seed}: {sha256}" for seed, sha256 in hashes.items() if sha256)


def flat(value: Any) -> str:
    """A JSON value on a line."""
    if isinstance(value, dict):
        said = {key: part for key, part in value.items() if part not in (None, "", [], {})}
        return ", ".join(f"{key} {flat(part)}".strip() for key, part in said.items())
    if isinstance(value, list):
        return ", ".join(map(flat, value))
    return "" if value is None else str(value)
