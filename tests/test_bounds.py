"""What is read from outside is bounded in size and nesting, and said in one line that names the bound."""

import gzip
import json
import os
import time

import pytest
import yaml
from support.fuzzing import BOMB, command, nested, within

from lift_harness.errors import LiftError
from lift_harness.files import DEPTH, LINE, numbered_lines, parse_json, read_bytes, read_json
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.results.logs import Notes, read_lines
from lift_harness.training.sources.files import read_rows
from lift_harness.yaml_values import TEXT, parse_yaml, read_yaml, yaml_value

RECIPE = """
name: a
data: [{source: countdown, n: 4}]
methods: [{name: m, objective: {name: lift}}]
"""


@pytest.fixture(autouse=True)
def soon():
    with within(20):
        yield


def refused(do, *arguments, **options):
    """The one line that something is refused with."""
    with pytest.raises(LiftError) as error:
        do(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ------------------------------------------------------------ files


@pytest.mark.parametrize("read", [read_json, read_yaml, read_bytes, lambda file: list(numbered_lines(file))])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to a device"])
def test_what_is_no_file_is_not_opened(tmp_path, read, kind):
    file = tmp_path / "file"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)  # to open it would wait for ever
    elif kind == "device":
        file = type(file)("/dev/zero")
    else:
        file.symlink_to("/dev/zero")
    assert refused(read, file).startswith(f"{file}: ") and "not a file" in refused(read, file)


def test_a_file_of_bounded_size(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"1" * 100)
    assert read_bytes(file, most=100) == b"1" * 100
    assert "file: larger than 99 bytes" in refused(read_bytes, file, most=99)
    assert refused(read_bytes, file, "prompts=x", 99).startswith("prompts=x: larger than")
    file.write_bytes(b"a" * (TEXT + 1))
    assert f"larger than {TEXT:,} bytes" in refused(read_yaml, file)


def test_a_line_of_bounded_length(tmp_path):
    good, long = tmp_path / "good.jsonl", tmp_path / "long.jsonl"
    good.write_bytes(b'{"a": 1}\n\n{"b": 2}')
    assert list(numbered_lines(good)) == [(1, b'{"a": 1}\n'), (2, b"\n"), (3, b'{"b": 2}')]
    with long.open("wb") as stream:
        stream.write(b'{"a": 1}\n{"a": "' + b"x" * LINE + b'"}\n')
    assert f"{long}:2: a line of more than {LINE:,} bytes" in refused(lambda: list(read_rows(long)))
    notes = Notes()
    assert list(read_lines(long, notes)) == [{"a": 1}] and f"more than {LINE:,} bytes" in notes[0]


def test_a_packed_line_of_bounded_length(tmp_path):
    file = tmp_path / "bomb.jsonl.gz"
    with gzip.open(file, "wb") as stream:
        for _ in range(40):
            stream.write(b" " * (1 << 20))
    assert file.stat().st_size < 1 << 20
    assert "a line of more than" in refused(lambda: list(read_rows(file)))


# ------------------------------------------------------------ JSON and YAML


@pytest.mark.parametrize("kind", [list, dict])
def test_nesting_is_bounded(kind):
    deepest = json.dumps(nested(DEPTH, kind))
    assert parse_json(deepest, "x") == json.loads(deepest)
    assert parse_yaml(deepest, "x") == json.loads(deepest)
    for depth in (DEPTH + 1, 5000):
        text = "[" * depth + "1" + "]" * depth if kind is list else '{"a": ' * depth + "1" + "}" * depth
        for parse in (parse_json, parse_yaml):
            assert refused(parse, text, "x").startswith("x: ") and f"more than {DEPTH} deep" in refused(
                parse, text, "x"
            )


def test_brackets_in_texts_are_not_nesting():
    text = json.dumps({"a": "[" * 1000})
    assert parse_json(text, "x") == json.loads(text)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]", "a: &a {<<: *a}"])
def test_aliases_are_bounded(text):
    assert "values, each alias in full" in refused(parse_yaml, text, "x") or "deep" in refused(
        parse_yaml, text, "x"
    )


def test_ordinary_aliases_and_merges_are_as_yaml_has_them():
    text = "a: &a {b: 1, c: [1, 2]}\nd: &d {<<: *a, b: 2}\ne: *a\nf: {<<: *d, c: 3}\ng: {<<: [*a, *d]}\n"
    assert parse_yaml(text, "x") == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 1}", "1: a\n1: b"])
def test_a_key_that_stands_twice_is_refused(text):
    assert "stands twice" in refused(parse_yaml, text, "x")


@pytest.mark.parametrize(
    "text", ["!!int ''", "2026-99-99", "!!bool x", "!!timestamp x", "9" * 5000, "? !!x\n"]
)
def test_what_python_says_of_a_value_is_said_in_one_line(text):
    assert refused(parse_yaml, text, "x").startswith("x: not YAML: ")


def test_a_number_with_an_exponent():
    assert yaml_value("1e-3", "x") == 1e-3 and yaml_value("[1, a]", "x") == [1, "a"]


# ------------------------------------------------------------ recipes


MANY = ", ".join(["1"] * 10)


@pytest.mark.parametrize(
    "override, message",
    [
        (
            f"sweep={{objective.H: [{', '.join(map(str, range(1, 10001)))}]}}",
            "make 10,000 methods; at most 1,000",
        ),
        (
            "sweep={" + ", ".join(f"training.k{i}: [{MANY}]" for i in range(9)) + "}",
            "make 1,000,000,000 methods",
        ),
        ("seeds=1000000000", "seeds=1000000000"),
        ("seeds=10000", "seeds=10000"),
        ("a" + ".a" * 200 + "=1", "a key of 201 parts; at most 100"),
        ("data.99999999999999999999=1", "is not an index"),
        ("x=" + "[" * 3000, "deep"),
        ("base=/dev/zero", "unknown key 'base'"),
        ("eval.prompts=/dev/zero", "not a file"),
        ("model={n_layers: 1000000}", "less than or equal to 1000"),
    ],
)
def test_a_recipe_is_counted_before_it_is_made(tmp_path, override, message):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    started = time.perf_counter()
    assert message in refused(load_recipe, str(tmp_path / "recipe.yaml"), [override])
    assert time.perf_counter() - started < 10


def test_trainings_are_bounded(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        RECIPE + "sweep: {training.max_steps: [" + ", ".join(map(str, range(1, 51))) + "]}\n"
    )
    recipe = load_recipe(str(tmp_path / "recipe.yaml"), ["seeds=20"])
    assert len(recipe.methods) * recipe.seeds == 1000
    assert "50 methods with 21 seeds are 1,050 trainings" in refused(
        load_recipe, str(tmp_path / "recipe.yaml"), ["seeds=21"]
    )


@pytest.mark.parametrize("base", ["/dev/zero", ".", "recipe.yaml"])
def test_a_base_is_a_file(tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE + f"base: {base}\n")
    code, text = command("train", "recipe.yaml", "--dry-run")
    assert code == 2 and text.startswith("error: ") and text.count("\n") == 1
