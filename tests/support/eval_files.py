"""Writers of the files that lm-eval 0.4.13 and train-eval leave behind."""

import json
import statistics as stats
from hashlib import sha256
from math import comb
from pathlib import Path

import yaml

from lift_harness.compare import load

TIME = "2026-01-02T03-04-05.678901"
LATER = "2026-02-02T03-04-05.678901"
DECODING = {"gen_length": 256, "block_length": 32, "steps": 128, "temperature": 0.0, "cache": "none"}


def line(doc_id, verdicts, *, prompt="Solve.", text=None, texts=None, doc=None, **other):
    """One problem of a sample log. verdicts: metric -> a verdict for each answer; text: the whole prompt."""
    n = len(next(iter(verdicts.values())))
    doc = {"question": f"question {doc_id}", "answer": str(doc_id)} if doc is None else doc
    correct = verdicts.get("solved", verdicts["acc"])
    judged = {"n_samples": n, "n_correct": sum(value == 1 for value in correct), **verdicts}
    metrics = {}
    for name, values in verdicts.items():
        pairs = isinstance(values[0], (list, tuple))
        metrics[name] = [sum(part) for part in zip(*values, strict=True)] if pairs else stats.fmean(values)
    for k in (1, 2, 4, 8, 16):
        if n > 1 and k <= n:
            wrong = n - judged["n_correct"]
            metrics[f"pass@{k}"] = 1 - comb(wrong, k) / comb(n, k)
    if texts is None:
        # sampled: several answers to a problem are several texts, however they are judged
        texts = [f"{doc_id}: {value}{f' ({i})' if i else ''}" for i, value in enumerate(verdicts["acc"])]
    if text is None:
        text = f"{prompt}\n\n{doc.get('question')}"
    return {
        "doc_id": doc_id,
        "doc": {**doc, "verdicts": judged},
        "target": str(doc.get("answer")),
        "arguments": {"gen_args_0": {"arg_0": text, "arg_1": {"until": []}}},
        "resps": [texts],
        "filtered_resps": [texts],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": sha256(json.dumps(doc).encode()).hexdigest(),
        "prompt_hash": sha256(text.encode(errors="surrogatepass")).hexdigest(),
        "target_hash": "",
        **metrics,
        **other,
    }


def answered(acc, **options):
    """Lines of 0/1 verdicts: a number a problem, or a list of them (a number an answer)."""
    each = [value if isinstance(value, list) else [value] for value in acc]
    return [line(i, {"acc": [float(v) for v in values]}, **options) for i, values in enumerate(each)]


def aggregate(lines):
    """The row of a results file."""
    row = {"alias": "", "sample_len": len(lines)}
    for name in lines[0]["metrics"]:
        values = [one[name] for one in lines]
        if isinstance(values[0], list):
            row[f"{name},none"] = sum(right for right, _ in values) / sum(empty for _, empty in values)
        else:
            row[f"{name},none"] = stats.fmean(values)
            row[f"{name}_stderr,none"] = (
                stats.stdev(values) / len(values) ** 0.5 if len(values) > 1 else "N/A"
            )
    return row


def write_eval(
    folder,
    tasks,
    *,
    time=TIME,
    pretrained="lift-tiny",
    peft=None,
    decoding=DECODING,
    logs=True,
    instruction="Solve.",
    version=1.0,
    original=None,
    results=None,
    dtype="torch.float32",
    metadata=None,
    shots=0,
    passes=None,
    rate=None,
    tokens=10,
):
    """lm-eval's files for tasks: {name: lines}; passes: of each task, with `tokens` an answer."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "results": {task: {**aggregate(lines), **(results or {})} for task, lines in tasks.items()},
        "configs": {
            task: {
                "task": task,
                "generation_kwargs": {"until": []},
                "repeats": len(lines[0]["resps"][0]),
                "metadata": {"version": version, "instruction": instruction, **(metadata or {})},
            }
            for task, lines in tasks.items()
        },
        "versions": dict.fromkeys(tasks, version),
        "n-shot": dict.fromkeys(tasks, shots),
        "n-samples": {
            task: {"original": original or len(lines), "effective": len(lines)}
            for task, lines in tasks.items()
        },
        "config": {
            "model": "lift_dlm",
            "model_args": {"pretrained": "label"},
            "pretrained": pretrained,
            "peft": peft,
            "model_dtype": dtype,
            **({"decoding": dict.fromkeys(tasks, decoding)} if decoding else {}),
            **({"decoding_statistics": statistics(tasks, passes, tokens, rate)} if passes else {}),
        },
        "model_name": str(peft or pretrained),
    }
    (folder / f"results_{time}.json").write_text(json.dumps(data))
    if logs:
        for task, lines in tasks.items():
            write_log(folder / f"samples_{task}_{time}.jsonl", lines)
    return folder


def statistics(tasks, passes, tokens, rate):
    """What `lift_dlm` writes of what it took."""
    by_task = {}
    for task, lines in tasks.items():
        n = sum(len(one["resps"][0]) for one in lines)
        by_task[task] = {"requests": n, "forward_passes": passes, "tokens": tokens * n}
    return {"tasks": by_task, **({"tokens_per_second": rate} if rate else {})}


def write_log(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(one) + "\n" for one in lines)
    return file


def write_run(folder, rows, *, model="lift-tiny", methods=(), data=("sudoku",), finished=True, scores=None):
    """A run of train-eval. rows: METHOD or METHOD/seed-N -> {label: {task: lines}}."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    recipe = {
        "name": "test",
        "model": model,
        "data": [{"source": source} for source in data],
        "methods": [{"name": name, "objective": objective} for name, objective in methods],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    found = {}
    for row, labels in rows.items():
        for label, tasks in labels.items():
            decoding = {**DECODING, "temperature": 0.7} if label == "samples" else DECODING
            if label.startswith("one-"):
                decoding = {**DECODING, "gen_length": int(label[4:])}
            write_eval(folder / row / "eval" / label, tasks, pretrained=model, decoding=decoding)
            for task, lines in tasks.items():
                shown = task + ("@" + label[4:] if label.startswith("one-") else "")
                for key, value in aggregate(lines).items():
                    if key.endswith(",none") and "stderr" not in key and (label != "samples" or "@" in key):
                        scored = found.setdefault(row.split("/")[0], {}).setdefault(shown, {})
                        scored.setdefault(key.removesuffix(",none"), []).append(value)
    means = {
        row: {
            task: {name: {"value": stats.fmean(values), "stderr": None} for name, values in metrics.items()}
            for task, metrics in tasks.items()
        }
        for row, tasks in found.items()
    }
    if finished:
        (folder / "results.json").write_text(json.dumps({"recipe": "test", "scores": scores or means}))
    return folder


def evals(folder, task, **acc):
    """Rows from lm-eval folders: name -> verdicts, or lines."""
    for name, values in acc.items():
        lines = values if isinstance(values[0], dict) else answered(values)
        write_eval(folder / name, {task: lines})
    return load([folder / name for name in acc])
