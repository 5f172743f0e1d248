"""What lm-eval's results_*.json says of each task: values with their errors, and what it was done with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lift_harness.results.logs import Evaluation, mapping, number, whole

MOST = 1e15  # of passes, tokens or bytes


def read_results(data: Mapping[str, Any], file: Path, label: str) -> Iterator[Evaluation]:
    """The tasks of a results_*.json, without their items."""
    rows, configs = mapping(data.get("results")), mapping(data.get("configs"))
    for task, row in rows.items():
        if (configs and task not in configs) or not isinstance(row, dict):  # groups have no configuration
            continue
        counts = mapping(mapping(data.get("n-samples")).get(task))
        yield Evaluation(
            task=task,
            label=label,
            source=file,
            aggregates=aggregates_of(row),
            n_items=whole(counts.get("effective") or row.get("sample_len")),
            n_total=whole(counts.get("original")),
            settings=settings_of(data, task, mapping(configs.get(task))),
            statistics=statistics_of(data, task),
        )


def aggregates_of(row: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """lm-eval's "acc,none" and "acc_stderr,none" as {"acc": (value, standard error)}."""
    aggregates = {}
    for key, logged in row.items():
        name, comma, kind = key.partition(",")
        value = number(logged)
        if comma and value is not None and not name.endswith("_stderr"):
            shown = name if kind == "none" else f"{name},{kind}"
            aggregates[shown] = (value, number(row.get(f"{name}_stderr,{kind}")))
    return aggregates


def settings_of(data: Mapping[str, Any], task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a task was done with (`Evaluation.settings`)."""
    run, metadata = mapping(data.get("config")), mapping(config.get("metadata"))
    settings = {
        "decoding": mapping(mapping(run.get("decoding")).get(task)),
        "generation": mapping(config.get("generation_kwargs")),
        "dtype": run.get("model_dtype"),
        "instruction": metadata.get("instruction"),
        "question": metadata.get("question"),
        "subset": metadata.get("subset"),
        "preset": metadata.get("preset"),
        "version": mapping(data.get("versions")).get(task, metadata.get("version")),
        "fewshot": mapping(data.get("n-shot")).get(task),
        "sandbox": metadata.get("sandbox"),
        "weights": " + ".join(filter(None, model_of(data))),
    }
    return {name: value for name, value in settings.items() if value not in (None, {}, "")}


def statistics_of(data: Mapping[str, Any], task: str) -> dict[str, float]:
    """What the answers to a task took (`Evaluation.statistics`)."""
    run = mapping(mapping(data.get("config")).get("decoding_statistics"))
    counts = mapping(mapping(run.get("tasks")).get(task))
    known = {name: amount(counts.get(name)) for name in ("requests", "forward_passes", "tokens")}
    known["tokens_per_second"] = amount(run.get("tokens_per_second"))
    return {name: value for name, value in known.items() if value is not None}


def amount(value: Any) -> float | None:
    """A number that something can be counted with, None for anything else."""
    known = number(value)
    return known if known is not None and 0 <= known < MOST else None


def model_of(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(checkpoint, adapter) that a results file was made with."""
    run = mapping(data.get("config"))
    arguments = run.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    arguments = mapping(arguments)
    model = run.get("pretrained") or arguments.get("pretrained")
    adapter = run.get("peft") or arguments.get("peft")
    return (str(model) if model else None), (str(adapter) if adapter else None)
