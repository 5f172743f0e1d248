"""The reference of settings: complete, current, and what recipes say of themselves."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lift_harness.cli import app
from lift_harness.decoding import DecodingConfig
from lift_harness.errors import LiftError
from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.pipeline.schema import EvalSettings, Recipe
from lift_harness.reference import GROUPS, as_markdown, commented, sections
from lift_harness.training.objectives import OBJECTIVES
from lift_harness.training.settings import LoraSettings, TrainSettings

PAGE = Path(__file__).parents[1] / "docs/reference.md"


def typed(*words, columns="80"):
    done = CliRunner().invoke(app, words, env={"COLUMNS": columns})
    assert done.exit_code == 0, done.exception
    return done.stdout


@pytest.fixture(scope="module")
def everything():
    return {section.name: {one.name: one for one in section.settings} for section in sections()}


def test_the_page_is_current():
    """Else: lift-harness settings --markdown > docs/reference.md."""
    assert PAGE.read_text(encoding="utf-8") == as_markdown(sections())


def test_every_setting_is_there_and_says_what_it_means(everything):
    assert list(everything["decoding"]) == [field.name for field in dataclasses.fields(DecodingConfig)]
    defaults = Recipe.model_validate(
        {
            "name": "x",
            "data": [{"source": "sudoku"}],
            "methods": [{"name": "a", "objective": {"name": "vanilla"}}],
        }
    ).model_dump()
    assert everything["recipe"].keys() == defaults.keys()
    assert everything["training"].keys() == defaults["training"].keys()
    assert everything["training.lora"].keys() == defaults["training"]["lora"].keys()
    assert everything["data"].keys() == defaults["data"][0].keys()
    for name, objective in OBJECTIVES.items():
        assert (
            everything[f"objective.{name}"].keys() | everything["objective"].keys()
            == objective.options.keys()
        )
    empty = [
        (name, key)
        for name, keys in everything.items()
        for key, one in keys.items()
        if not (one.about and one.values)
    ]
    assert empty == []


def test_defaults_and_values_are_those_that_hold(everything):
    found = DecodingConfig()
    for name, one in everything["decoding"].items():
        if one.default != "unset":
            value = yaml.safe_load(one.default)
            assert DecodingConfig(**{name: value}) == found
    for name in ("noise", "t_range"):
        assert yaml.safe_load(everything["objective"][name].default) == OBJECTIVES["lift"].options[name]
    for name, part in {
        "training": TrainSettings,
        "training.lora": LoraSettings,
        "eval": EvalSettings,
    }.items():
        for key, one in everything[name].items():
            if one.default != "its defaults":
                assert part.model_validate({key: yaml.safe_load(one.default)}) == part()
    assert everything["training"]["lr_scheduler"].values.startswith("linear, cosine")
    assert everything["training"]["max_steps"].values == "whole number, at least 1, or null"
    assert everything["objective.lift"]["H"].default == "3"
    assert "schedule=factor" in everything["decoding"]["factor"].values


@pytest.mark.parametrize("recipe", recipe_names())
def test_comments_change_nothing_of_a_recipe(recipe):
    text = yaml.safe_dump(load_recipe(recipe).model_dump(mode="json"), sort_keys=False)
    shown = commented(text)
    assert yaml.safe_load(shown) == yaml.safe_load(text)
    assert "optimiser steps; takes the place of epochs" in shown
    assert len(shown.splitlines()) == len(text.splitlines())


def test_comments_stay_out_of_long_texts():
    prompts = {
        "prompts": {"gsm8k": {"instruction": "a: b # c\n\n" + "word: " * 40 + "\n\"quoted\" 'x': {y}"}}
    }
    recipe = load_recipe("quickstart").model_dump(mode="json")
    recipe["eval"] |= prompts
    text = yaml.safe_dump(recipe, sort_keys=False)
    assert yaml.safe_load(commented(text)) == recipe


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize("columns", ["80", "50", "200"])
def test_recipes_are_listed_aligned_and_whole(columns):
    lines = typed("recipes", "list", columns=columns).splitlines()
    assert max(map(len, lines)) <= int(columns)
    listed, told = {}, set()
    for line in lines:
        name, _, about = line.partition(" ")
        if name in recipe_names():
            here = listed.setdefault(name, [])
            told.add(len(line) - len(about.lstrip()))
        if line.startswith(" ") or name in recipe_names():
            here.append(line[max(map(len, recipe_names())) :].strip())
    assert len(told) == 1 and list(listed).count("quickstart") == 1 and listed.keys() == set(recipe_names())
    for name, parts in listed.items():
        assert " ".join(parts).endswith(load_recipe(name).description)


def test_the_command_prints_a_group_at_the_terminals_width():
    shown = typed("settings", "training", columns="60")
    assert max(map(len, shown.splitlines())) <= 60
    assert re.search(r"^TRAINING\n.*^max_steps = null\n", shown, flags=re.DOTALL | re.MULTILINE)
    assert "TRAINING.LORA" in shown and "DECODING" not in shown
    assert typed("settings", "--markdown") == PAGE.read_text(encoding="utf-8")
    assert typed("settings").count("\n") > 300


def test_an_unknown_group_is_one_line():
    with pytest.raises(LiftError, match="no settings of 'trainig'; did you mean training"):
        sections("trainig")
    assert list(GROUPS) == ["recipe", "model", "data", "training", "objective", "eval", "decoding"]


def test_show_with_comments(tmp_path):
    shown = typed("recipes", "show", "quickstart", "--comments")
    plain = typed("recipes", "show", "quickstart")
    assert yaml.safe_load(shown) == yaml.safe_load(plain) and "# of AdamW, at its highest" in shown
    assert "#" not in plain
