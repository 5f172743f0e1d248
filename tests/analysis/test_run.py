"""`lift-harness analyze` against a slow account of the same: one example, one time, one token at a time."""

import csv
import json
import math
import signal
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from support.checkpoints import DREAM, LLADA, write_checkpoint
from support.families_reference import CONFIGS, write_family

from lift_harness.analysis import sums
from lift_harness.analysis.arguments import Options, find_token, parse_times
from lift_harness.analysis.examples import draw_examples, load_corpus
from lift_harness.analysis.run import analyze, show
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.keyed_random import keyed_uniform
from lift_harness.models import load_model
from lift_harness.training.sources.synthetic import generated

TIMES = "0.25,2^-1/2"
SEED = 3
RESULTS = ("tokens.csv", "frequency.csv", "analysis.json", "confidence-by-frequency.svg", "token-curves.svg")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Exchanges of several lengths, two of them equal."""
    file = tmp_path_factory.mktemp("data") / "sums.jsonl"
    asked = [(record.user[-20:], record.response) for record in generated("arithmetic", 13, seed=2)]
    rows = [{"prompt": user, "response": response} for user, response in [*asked, asked[0]]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    made = {}

    def folder(base):
        name = base["model_type"]
        folder = tmp_path_factory.getbasetemp() / f"{name}-base"
        if name not in made and name in CONFIGS:
            made[name] = write_family(folder, name, tokenizer)
        elif name not in made:
            made[name] = write_checkpoint(folder, tokenizer, base)
        return str(made[name])

    return folder


def options(model, data, **changes):
    given = {"t_bins": TIMES, "examples": None, "seed": SEED, "bins": 4, "min_count": 2, "bootstrap": 50}
    return Options(model, str(data), **{**given, **changes})


def quiet():
    return Console(quiet=True)


def read(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


# ---------------------------------------------------------------- the numbers


def probabilities(model, noised, whole):
    """float64 p of every token at every position, from whole logits; Dream's are one to the left.

    A model with blocks: block by block, after the clean text before it.
    """
    size, found = model.block_size or len(whole), []
    for start in range(0, len(whole), size):
        ids = whole[:start] + noised[start : start + size]
        p = torch.softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        found.append((torch.cat((p[:1], p[:-1])) if model.logit_shift else p)[start:])
    return torch.cat(found)


def slow_account(model, examples, times, mask_id):
    """(t, token) -> [(number of the example, confidence)]; one pass an example and time."""
    found = defaultdict(list)
    for number, example in enumerate(examples):
        whole = [*example.prompt, *example.response]
        for t in times:
            noise = [float(keyed_uniform(SEED, 0, 1, example.id, i)) for i in range(len(example.response))]
            hidden = [len(example.prompt) + i for i, u in enumerate(noise) if u < t]
            p = probabilities(model, [mask_id if i in hidden else x for i, x in enumerate(whole)], whole)
            for i in hidden:
                found[t, whole[i]].append((number, float(p[i, whole[i]])))
                found["all", whole[i]].append((number, float(p[i, whole[i]])))
    return found


def mean_and_error(pairs):
    """Mean and the standard error of a ratio of sums over examples; None below two examples."""
    mean = sum(p for _, p in pairs) / len(pairs)
    by_example = defaultdict(list)
    for number, p in pairs:
        by_example[number].append(p)
    if len(by_example) < 2:
        return mean, None
    squares = sum((sum(ps) - mean * len(ps)) ** 2 for ps in by_example.values())
    return mean, math.sqrt(len(by_example) / (len(by_example) - 1) * squares) / len(pairs)


@pytest.mark.parametrize("base", [LLADA, DREAM, CONFIGS["sdar"]], ids=lambda base: base["model_type"])
@torch.no_grad()
def test_the_tables_are_those_of_a_slow_account(base, checkpoint, data, tmp_path):
    wanted = options(checkpoint(base), data, batch_tokens=100)
    analyze(wanted, tmp_path / "out", console=quiet())
    model, tokenizer = load_model(wanted.model)
    examples = load_corpus(str(data), tokenizer, context=128, n=None, seed=0).chosen
    times = (0.25, 2**-0.5)
    expected = slow_account(model, examples, times, tokenizer.mask_token_id)
    frequency = Counter(token for example in examples for token in example.response)

    rows = {(row["t"], int(row["token_id"])): row for row in read(tmp_path / "out" / "tokens.csv")}
    assert len(rows) == 3 * len(frequency)
    for t in (*times, "all"):
        for token, occurrences in frequency.items():
            row, pairs = rows[str(t), token], expected.get((t, token), [])
            assert (int(row["frequency"]), int(row["count"])) == (occurrences, len(pairs))
            check(row, pairs)
    edges = np.geomspace(1, max(frequency.values()) + 1, 5)
    for row in read(tmp_path / "out" / "frequency.csv"):
        low, high = edges[int(row["bin"])], edges[int(row["bin"]) + 1]
        inside = [token for token, n in frequency.items() if low <= n < high]
        t = row["t"] if row["t"] == "all" else float(row["t"])
        pairs = [pair for token in inside for pair in expected.get((t, token), [])]
        assert int(row["count"]) == len(pairs) and int(row["tokens"]) == len(inside)
        assert int(row["frequency_low"]) == min(frequency[token] for token in inside)
        assert int(row["frequency_high"]) == max(frequency[token] for token in inside)
        check(row, pairs)


def check(row, pairs):
    if not pairs:
        assert row["confidence_mean"] == row["confidence_stderr"] == ""
        return
    mean, error = mean_and_error(pairs)
    assert float(row["confidence_mean"]) == pytest.approx(mean, rel=2e-4)
    if error is None:
        assert row["confidence_stderr"] == ""
    else:
        assert float(row["confidence_stderr"]) == pytest.approx(error, rel=2e-3, abs=1e-9)


def test_an_example_does_not_depend_on_its_company(checkpoint, data, tmp_path):
    model = checkpoint(LLADA)
    for name, tokens in (("small", 1), ("large", 10_000)):
        analyze(options(model, data, batch_tokens=tokens), tmp_path / name, console=quiet())
    small, large = (read(tmp_path / name / "tokens.csv") for name in ("small", "large"))
    assert [row["count"] for row in small] == [row["count"] for row in large]
    for a, b in zip(small, large, strict=True):
        assert (a["confidence_mean"] == "") == (b["confidence_mean"] == "")
        if a["confidence_mean"]:
            assert float(a["confidence_mean"]) == pytest.approx(float(b["confidence_mean"]), rel=1e-4)


def test_the_state_does_not_grow_with_the_examples():
    rng = np.random.default_rng(0)
    state = sums.State.empty(1, 5, np.array([0, 0, 1, 1, 1]), groups=2)
    sizes = []
    for group in rng.integers(0, 2, 40):
        seen = sums.Seen(rng.integers(0, 5, 7), rng.random(7))
        state.add(int(group), [seen], np.arange(5))
        sizes.append(sum(array.nbytes for array in state.arrays().values()))
    assert len(set(sizes)) == 1 and state.tokens.n[-1].sum() == 40 * 7


# ---------------------------------------------------------------- resuming

KILLED = """
import os, signal, sys
from pathlib import Path
from lift_harness.analysis import run, sums
from lift_harness.analysis.arguments import Options
save, saved = sums.save_state, []
def save_then_die(*args):
    save(*args)
    saved.append(args)
    if len(saved) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
sums.save_state = save_then_die
run.analyze(eval(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_and_resumed_is_as_never_killed(checkpoint, data, tmp_path):
    wanted = options(checkpoint(LLADA), data, batch_tokens=100, save_every=3, parquet=True)
    analyze(wanted, tmp_path / "whole", console=quiet())
    done = subprocess.run([sys.executable, "-c", KILLED, repr(wanted), str(tmp_path / "killed")], check=False)
    assert done.returncode == -signal.SIGKILL
    with np.load(tmp_path / "killed" / "state.npz") as state:
        assert 0 < json.loads(str(state["progress"]))["examples"] < 14
    assert not (tmp_path / "killed" / "tokens.csv").exists()
    with pytest.raises(LiftError, match="holds another analysis; --resume continues it"):
        analyze(wanted, tmp_path / "killed", console=quiet())
    analyze(wanted, tmp_path / "killed", resume=True, console=quiet())
    for name in RESULTS:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    again = analyze(wanted, tmp_path / "killed", resume=True, console=quiet())  # nothing left to do
    assert again.state.examples == 14


def test_where_chance_masks_nothing_it_says_so(checkpoint, data, tmp_path):
    rare = options(checkpoint(LLADA), data, t_bins="0.0001", examples=1)
    with pytest.raises(LiftError, match="no token was masked at these times"):
        analyze(rare, tmp_path / "out", console=quiet())


def test_only_the_same_analysis_is_resumed(checkpoint, data, tmp_path):
    wanted = options(checkpoint(LLADA), data)
    analyze(wanted, tmp_path / "out", console=quiet())
    for changes, message in (({"seed": 4}, "seed=3, this one 4"), ({"t_bins": "0.5"}, "t_bins=")):
        with pytest.raises(LiftError, match=message):
            other = options(wanted.model, data, **changes)
            analyze(other, tmp_path / "out", resume=True, console=quiet())
    (tmp_path / "out" / "state.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(LiftError, match="not a state of an analysis"):
        analyze(wanted, tmp_path / "out", resume=True, console=quiet())
    analyze(wanted, tmp_path / "out", overwrite=True, console=quiet())


# ---------------------------------------------------------------- data and files


def test_a_recipe_is_data_too_and_the_draw_is_by_content(tokenizer, data, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: small\nmethods: [{name: v, objective: {name: vanilla}}]\n"
        "data: [{source: arithmetic, n: 20, seed: 5}]\n"
    )
    corpus = load_corpus(str(recipe), tokenizer, context=128, n=6, seed=0)
    everything = load_corpus(str(recipe), tokenizer, context=128, n=None, seed=0)
    assert corpus.total == 20 and len(corpus.chosen) == 6
    assert corpus.frequency.sum() == sum(len(example.response) for example in everything.chosen)
    shuffled = draw_examples(everything.chosen[::-1], 6, seed=0)
    assert [example.id for example in shuffled] == [example.id for example in corpus.chosen]
    other = draw_examples(everything.chosen, 6, seed=1)
    assert {example.id for example in other} != {example.id for example in shuffled}
    assert load_corpus("arithmetic", tokenizer, context=128, n=7, seed=0).total == 7


def test_long_responses_are_cut_and_that_is_said(tokenizer, data):
    corpus = load_corpus(str(data), tokenizer, context=40, n=None, seed=0)
    assert max(map(len, corpus.chosen)) <= 40
    assert any("cut at 40 tokens" in note for note in corpus.notes)


def test_the_files(checkpoint, data, tmp_path, capsys):
    from pyarrow import parquet

    wanted = options(checkpoint(LLADA), data, parquet=True, tokens=["=", "id:5"])
    found = analyze(wanted, tmp_path / "out", console=quiet())
    assert {file.name for file in found.files} | {"state.npz"} == {
        file.name for file in (tmp_path / "out").iterdir()
    }
    for name in ("tokens", "frequency"):
        rows = parquet.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        texts = [{key: "" if x is None else str(x) for key, x in row.items()} for row in rows]
        assert texts == read(tmp_path / "out" / f"{name}.csv")
    for name in ("confidence-by-frequency", "token-curves"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "out" / f"{name}.svg").read_text()
    summary = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert summary["trend"]["verdict"] in (
        "shows",
        "does not show",
        "is reversed",
        "depends on which tokens count",
        "cannot be judged",
    )
    assert summary["masked"]["all"] == sum(
        int(row["count"]) for row in read(tmp_path / "out" / "tokens.csv") if row["t"] == "all"
    )
    screen = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    show(found, screen)
    text = screen.export_text()
    assert "Spearman" in text and "all t" in text
    tables, picture = tmp_path / "out", tmp_path / "out" / "confidence-by-frequency.png"
    assert capsys.readouterr().err.endswith(f"tables:  {tables}\npicture: {picture}\n")


# ---------------------------------------------------------------- what is refused


def test_times():
    assert parse_times("2^-1/4, 2^-2,2 ^ -1, 2^-1/2") == (0.25, 0.5, 2**-0.5, 2**-0.25)
    assert parse_times("1/3,1,.75") == (1 / 3, 0.75, 1.0)
    for text in ("0", "1.5", "2^1", "a", "", "0.5,", "1/0", "-1", "-1^0.5", "0^-1", "1e-3"):
        with pytest.raises(LiftError, match="is not a time in"):
            parse_times(text)
    with pytest.raises(LiftError, match="names a time twice"):
        parse_times("0.5,2^-1")


def test_a_token_that_is_not_one_or_not_there(tokenizer):
    plus = tokenizer("+", add_special_tokens=False)["input_ids"][0]
    assert find_token(tokenizer, [0, plus], "+") == find_token(tokenizer, [0, plus], f"id:{plus}") == 1
    with pytest.raises(LiftError, match="tokens; give one token"):
        find_token(tokenizer, [plus], "+-*+")
    with pytest.raises(LiftError, match="does not occur"):
        find_token(tokenizer, [plus], "id:0")


def test_other_files_are_not_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(LiftError, match="holds files that are not an analysis"):
        analyze(Options("lift-tiny", "arithmetic"), tmp_path, overwrite=True, console=quiet())
    with pytest.raises(LiftError, match="is a file"):
        analyze(Options("lift-tiny", "arithmetic"), tmp_path / "thesis.tex", console=quiet())
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_unknown_data_leaves_nothing_behind(checkpoint, tmp_path):
    for name, message in (
        ("sudoko", "unknown data source 'sudoko'"),
        ("quikstart", "did you mean quickstart"),
        (str(tmp_path / "none.jsonl"), "none.jsonl: no such file"),
    ):
        with pytest.raises(LiftError, match=message):
            analyze(options(checkpoint(LLADA), name), tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()
