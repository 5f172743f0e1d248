"""Run folders for the tests of the report: a small one to work out by hand, a large one like a real one."""

import json
import random
from html.parser import HTMLParser
from pathlib import Path

from support.eval_files import DECODING, line, write_eval, write_log

TIME = "2026-11-20T10-00-00.000000"
BEFORE = "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nSolve it step by step.\n\n"
AFTER = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<reasoning>"
METHODS = ("vanilla", "gift", "lift-h2", "lift-h3")
SKILL = {"base": 0.44, "vanilla": 0.46, "gift": 0.5, "lift-h2": 0.57, "lift-h3": 0.6}
NAMES = ["Ada", "Ben", "Carla", "Dmitri", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas"]
THINGS = ["apples", "tickets", "stamps", "marbles", "pages", "coins", "eggs", "books", "bottles", "seeds"]
STEPS = (
    "First we count the {thing} that {name} has: {a}.",
    "Each of the {b} boxes holds {a} {thing}, so that is {a} * {b} = {c}.",
    "Half of the {thing} are given away, and the rest is kept.",
    "We subtract what {name} spent: {c} - {a} = {d}.",
    "The total is therefore {d}.",
    "Let us check this: {a} + {b} is not needed here, only the product.",
    "In the second week {name} finds {b} more {thing}, which makes {e}.",
)
SUBJECTS = ("Algebra", "Counting & Probability", "Geometry", "Number Theory", "Prealgebra")


def write_json(file: Path, data) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")


def sample_line(doc_id, texts, acc, *, doc=None, question="How many?", target="18", solved=None):
    """One line of a sample log, whose prompt has a frame; a problem without a dataset row is its doc_id."""
    verdicts = {"acc": acc} if solved is None else {"acc": acc, "solved": solved}
    known = {} if doc else {"doc_hash": None}
    text = BEFORE + question + AFTER
    return line(doc_id, verdicts, text=text, texts=texts, doc=doc or {}, target=target, **known)


def log_file(folder: Path, label: str, task: str) -> Path:
    return folder / "eval" / label / f"samples_{task}_{TIME}.jsonl"


def write_evaluation(folder: Path, task: str, one, samples=()) -> None:
    """The logs of a task."""
    write_log(log_file(folder, "one", task), one)
    if samples:
        write_log(log_file(folder, "samples", task), samples)


# ------------------------------------------------------------ a small run


def score(value, stderr=0.1, **more):
    return {"value": value, "stderr": stderr, **more}


def write_small_run(folder, results=True):
    """Two tasks, three rows, four Sudokus and three word problems: small enough to work out by hand."""
    cells = {"base": [(1, 4), (2, 4), (0, 6), (6, 6)], "vanilla": [(4, 4), (4, 4), (3, 6), (6, 6)]}
    rights = {"base": [0, 0, 1], "vanilla": [1, 0, 1]}
    samples = {"base": [[0, 0], [0, 1], [1, 1]], "vanilla": [[1, 0], [1, 1], [1, 1]]}
    scores = {}
    for row in ("base", "vanilla"):
        puzzles = ["0" * of + "1" * (16 - of) for _, of in cells[row]]
        write_evaluation(
            folder / row,
            "lift_sudoku",
            [
                sample_line(
                    i,
                    [f"grid {i}"],
                    [[r, of]],
                    solved=[float(r == of)],
                    doc={"Puzzle": puzzle},
                    question=f"Puzzle: {puzzle}",
                    target="g",
                )
                for i, ((r, of), puzzle) in enumerate(zip(cells[row], puzzles, strict=True))
            ],
        )
        docs = [{"question": f"Q{i}", "answer": "one\n" * i + "last\n#### 7"} for i in range(3)]
        write_evaluation(
            folder / row,
            "lift_gsm8k",
            [
                sample_line(
                    i, ["x" * (10 * i + 1) + "<|eot_id|>"], [right], doc=docs[i], question=f"Q{i}", target="7"
                )
                for i, right in enumerate(rights[row])
            ],
            [
                sample_line(i, ["a", "b"], found, doc=docs[i], question=f"Q{i}", target="7")
                for i, found in enumerate(samples[row])
            ],
        )
        scores[row] = {
            "lift_sudoku": {
                "acc": score(sum(r for r, _ in cells[row]) / 20, 0.2),
                "solved": score(sum(r == of for r, of in cells[row]) / 4),
            },
            "lift_gsm8k": {
                "acc": score(sum(rights[row]) / 3),
                "pass@1": score(sum(map(sum, samples[row])) / 6),
                "pass@2": score(sum(map(max, samples[row])) / 3),
            },
        }
        write_json(
            folder / row / "eval.json",
            {"result": scores[row], "seconds": 30.0, "cost": {"forward_passes": 700, "tokens": 9000}},
        )
    write_json(
        folder / "vanilla" / "train.json", {"result": {"loss": [{"step": 1, "loss": 2.5}]}, "seconds": 12.0}
    )
    (folder / "recipe.yaml").write_text(
        "name: small\nseed: 3\nmodel: lift-tiny\nmethods: [{name: vanilla}]\n"
        "eval: {samples: 2, temperature: 0.7}\n"
    )
    if results:
        write_json(
            folder / "results.json", {"recipe": "small", "version": "0.1.0", "scores": scores, "training": {}}
        )
    return folder


# ------------------------------------------------------------ what a page holds


class Scripts(HTMLParser):
    """The script elements of a page: [(attributes, content)]."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append([dict(attributes), ""])
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, data):
        if self.inside:
            self.found[-1][1] += data


def embedded(page):
    """The data in the HTML of a page, found as a browser finds it."""
    parser = Scripts()
    parser.feed(page)
    assert len(parser.found) == 3  # theme, data, program
    data = [text for attributes, text in parser.found if attributes.get("id") == "data"]
    return json.loads(data[0])


# ------------------------------------------------------------ a large run


def make_problem(task: str, i: int):
    """(dataset row, question, target, difficulty from 0 to 1) of a problem; the same whenever it is made."""
    r = random.Random(f"{task}/{i}")
    name, thing, a, b = r.choice(NAMES), r.choice(THINGS), r.randint(3, 40), r.randint(2, 12)
    text = f"{name} has {b} boxes with {a} {thing} each and gives some away."
    text += " ".join(
        f" Then {r.choice(NAMES)} brings {r.randint(2, 60)} {r.choice(THINGS)}."
        for _ in range(r.randint(0, 3))
    )
    question = f"{text} How many {thing} are left?"
    if task == "lift_math500":
        level = r.randint(1, 5)
        doc = {"problem": question, "level": level, "subject": r.choice(SUBJECTS)}
        return doc, question, str(a * b), (level - 1) / 4
    steps = r.randint(2, 7)
    doc = {"question": question, "answer": "step\n" * (steps - 1) + f"step\n#### {a * b}"}
    return doc, question, str(a * b), (steps - 2) / 5


def make_answer(r: random.Random, target: str, right: bool, hard: float) -> str:
    """A generated text with that verdict."""
    values = dict(
        a=r.randint(3, 40),
        b=r.randint(2, 12),
        c=r.randint(20, 400),
        d=r.randint(20, 400),
        e=r.randint(20, 400),
    )
    n = r.randint(3, 5) + round(5 * hard)
    body = " ".join(
        r.choice(STEPS).format(name=r.choice(NAMES), thing=r.choice(THINGS), **values) for _ in range(n)
    )
    number = target if right else str(r.randint(2, 900))
    ends = "<|endoftext|>" * r.randint(0, 20)
    return f"\n{body}\n</reasoning>\n<answer>\n\\boxed{{{number}}}\n</answer><|eot_id|>{ends}"


def make_trace(task: str, i: int, text: str, seed: str, length: int = 64, per_step: int = 2) -> dict:
    """A plausible decoding: two tokens a step, block by block, the sure ones first."""
    r = random.Random(seed)
    words = text.replace("<|endoftext|>", "").split(" ")
    tokens = [(" " if k else "") + word for k, word in enumerate(words)][: length - 4]
    tokens += ["<|endoftext|>"] * (length - len(tokens))
    step, confidence = [0] * length, [0.0] * length
    at = 0
    for block in range(0, length, 32):
        ease = {
            k: r.random() ** 0.6 * (1 if tokens[k] != "<|endoftext|>" else 1.4)
            for k in range(block, block + 32)
        }
        order = sorted(ease, key=lambda k: -ease[k])
        for n in range(0, 32, per_step):
            for k in order[n : n + per_step]:
                step[k], confidence[k] = (
                    at,
                    round(min(1.0, 0.15 + 0.85 * ease[k] ** 0.5 * r.uniform(0.75, 1)), 4),
                )
            at += 1
    return {
        "task": task,
        "doc_id": i,
        "sample": 0,
        "label": "one",
        "tokens": tokens,
        "step": step,
        "confidence": confidence,
    }


def stderr_of(values) -> float:
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)) ** 0.5


def write_large_run(
    folder: Path, problems: int = 2000, samples: int = 4, sampled: int = 300, traces: int = 12
) -> Path:
    """`problems` problems of two tasks, answered by the base model and four methods; the same every time."""
    tasks = {"lift_gsm8k": problems * 2 // 3, "lift_math500": problems - problems * 2 // 3}
    made = {(task, i): make_problem(task, i) for task, n in tasks.items() for i in range(n)}
    scores: dict = {}
    stages = {}
    for row in ("base", *METHODS):
        histories = []
        for task, n in tasks.items():
            one, many, right = [], [], []
            for i in range(n):
                doc, question, target, hard = made[task, i]
                chance = min(
                    0.97, max(0.02, SKILL[row] + 0.3 - 0.75 * hard - (0.12 if "math" in task else 0))
                )
                r = random.Random(f"{row}/{task}/{i}")
                draws = [int(r.random() < chance) for _ in range(samples + 1 if i < sampled else 1)]
                texts = [make_answer(r, target, bool(draw), hard) for draw in draws]
                about = dict(doc=doc, question=question, target=target)
                one.append(sample_line(i, texts[:1], [float(draws[0])], **about))
                right.append(draws[0])
                if i < sampled:
                    many.append(sample_line(i, texts[1:], [float(draw) for draw in draws[1:]], **about))
                if i < traces:
                    histories.append(make_trace(task, i, texts[0], f"{row}{task}{i}"))
            write_evaluation(folder / row, task, one, many)
            passes = [line["pass@1"] for line in many]
            scores.setdefault(row, {})[task] = {
                "acc": {"value": sum(right) / n, "stderr": stderr_of(right)},
                "pass@1": {"value": sum(passes) / len(passes), "stderr": stderr_of(passes)},
            }
        write_log(folder / row / "eval" / "traces.jsonl", histories)
        seconds = {"eval": 3100 + 90 * len(row)}
        write_json(folder / row / "eval.json", {"result": scores[row], "seconds": seconds["eval"]})
        if row != "base":
            seconds["train"] = {"vanilla": 3600, "gift": 6400, "lift-h2": 6350, "lift-h3": 6500}[row]
            write_training(folder / row, row, seconds["train"])
        for kind, took in seconds.items():
            passes = {"train": 20_000, "eval": 2_100_000}[kind] * (
                1.8 if row.startswith(("lift", "gift")) and kind == "train" else 1
            )
            stages[f"{row}/{kind}"] = {
                "seconds": took,
                "gpu_hours": round(took / 3600, 3),
                "forward_passes": int(passes),
                "tokens": int(passes) * 128,
                "peak_memory_bytes": 61 << 30,
            }
    write_about(folder, tasks, scores, stages)
    write_frequency(folder / "analysis")
    return folder


def write_training(folder: Path, row: str, seconds: float, steps: int = 1250) -> None:
    """train.json, log.jsonl and, of LIFT, confidence.json."""
    r = random.Random(row)
    log = []
    for step in range(1, steps + 1):
        line = {
            "step": step,
            "epoch": step / 125,
            "learning_rate": 1e-5 * (1 - step / steps),
            "grad_norm": r.lognormvariate(0, 0.3),
        }
        line["loss"] = (0.7 + 0.8 * 0.996**step) * r.lognormvariate(0, 0.25)
        if row.startswith("lift"):
            a, b = sorted((r.gauss(0.333, 0.05), r.gauss(0.667, 0.05)))
            line |= {"regime_hardest": a, "regime_random": b - a, "regime_easiest": 1 - b}
        if step % 125 == 0:
            log.append({"step": step, "eval_nelbo": 0.9 + 0.5 * 0.997**step + r.gauss(0, 0.01)})
        log.append(line)
    write_log(folder / "train" / "log.jsonl", log)
    write_json(
        folder / "train.json",
        {
            "result": {"checkpoint": "adapter", "sha256": "ab" * 32, "parameters": 1, "loss": []},
            "seconds": seconds,
        },
    )
    if row.startswith("lift"):
        kept = [0.2 + 0.06 * i if i < 4 else (None if i < 6 else 0.95 - 0.03 * i) for i in range(10)]
        dropped = [0.85 + 0.02 * i if i < 4 else (None if i < 6 else 0.5 - 0.04 * i) for i in range(10)]
        edges = [i / 10 for i in range(11)]
        write_json(
            folder / "train" / "confidence.json",
            {"t_edges": edges, "kept": kept, "dropped": dropped, "count": [9] * 10},
        )


def write_about(folder: Path, tasks, scores, stages) -> None:
    """recipe.yaml, results.json and manifest.json."""
    (folder / "recipe.yaml").write_text(
        "name: llada-8b-s1k\ndescription: LLaDA-8B-Instruct on s1K, vanilla and GIFT against LIFT (synthetic "
        "numbers, for the tests of this page).\nseed: 0\nmodel: GSAI-ML/LLaDA-8B-Instruct\nmethods:\n"
        + "".join(f"- name: {name}\n" for name in METHODS)
        + f"eval:\n  tasks: [{', '.join(tasks)}]\n  samples: 4\n  temperature: 0.5\n",
        encoding="utf-8",
    )
    training = {name: {"sha256": "ab" * 32} for name in METHODS}
    write_json(
        folder / "results.json",
        {"recipe": "llada-8b-s1k", "version": "0.1.0", "scores": scores, "training": training},
    )
    write_json(
        folder / "manifest.json",
        {
            "code": {"version": "0.1.0", "git_commit": "0123456789abcdef0123", "git_dirty": False},
            "packages": {"torch": "2.8.0", "transformers": "4.57.1", "lm-eval": "0.4.13"},
            "hardware": {
                "machine": "x86_64",
                "cpu": "AMD EPYC",
                "cores": 96,
                "gpus": ["NVIDIA H100 80GB HBM3"],
                "cuda": "12.6",
                "processes": 1,
            },
            "model": {"name": "GSAI-ML/LLaDA-8B-Instruct", "revision": "08b83a6feb34", "sha256": "cd" * 32},
            "data": {
                "records": 1000,
                "sha256": "ef" * 32,
                "sources": [{"source": "simplescaling/s1K", "kept": 1000}],
            },
            "tasks": {task: {"revision": "main"} for task in tasks},
            "seeds": [0],
            "stages": stages,
        },
    )


def write_frequency(folder: Path) -> None:
    """A table as `lift-harness analyze` writes it."""
    rows = ["t,bin,frequency_low,frequency_high,tokens,count,confidence_mean,confidence_stderr"]
    for t, base in ((0.25, 0.72), (0.5, 0.6), (0.707, 0.45), (0.841, 0.3), ("all", 0.5)):
        for b in range(10):
            mean = min(0.97, base + 0.028 * b)
            rows.append(
                f"{t},{b},{int(2.4**b)},{int(2.4 ** (b + 1))},{400 - 30 * b},{1000 + 100 * b},{mean:.4f},"
                f"{0.04 / (b + 1):.4f}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frequency.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    write_json(
        folder / "analysis.json",
        {
            "model": "GSAI-ML/LLaDA-8B-Instruct",
            "data": "s1K",
            "sentences": ["The trend shows in these synthetic numbers.", "More of it."],
        },
    )


# ------------------------------------------------------------ a sweep

SWEPT = {  # setting -> (right of 10, passes, tokens a second, exact)
    "protocol": (8, 100, 50.0, True),
    "cache=dual": (8, 100, 90.0, False),
    "tokens_per_step=4": (5, 25, 180.0, True),
}
DECODED = {"protocol": "exact", "cache=dual": "approximate", "tokens_per_step=4": "other schedule"}


def write_sweep(folder):
    """Three decoding settings on ten problems, ten tokens an answer, with a replay of the first."""
    for row, (right, passes, rate, exact) in SWEPT.items():
        lines, steps = [], 16 * passes // 100
        for i in range(10):
            text = "same" if i < 3 else row
            lines.append(
                sample_line(i, [text], [float(i < right)], question=f"Q{i}", doc={"question": f"Q{i}"})
            )
        decoding = {**DECODING, "exact": exact, "steps": passes}
        write_eval(
            folder / row / "eval" / "one", {"lift_gsm8k": lines}, decoding=decoding, passes=passes, rate=rate
        )
        trace = make_trace("lift_gsm8k", 0, "a b c", row, length=32, per_step=32 // steps)
        write_log(folder / row / "eval" / "traces.jsonl", [trace])
        write_json(folder / row / "eval.json", {"result": {}, "cost": {"peak_memory_bytes": 2**30}})
    rows = [{"name": row, "baseline": "protocol", "decoding": DECODED[row]} for row in SWEPT]
    write_json(folder / "results.json", {"sweep": "swept", "scores": dict.fromkeys(SWEPT, {}), "rows": rows})
    (folder / "recipe.yaml").write_text("{name: swept, model: [lift-tiny], grid: {cache: [none, dual]}}")
    return folder
