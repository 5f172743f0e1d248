"""Every setting with its values, its default and its meaning, read from where it is checked.

Recipes say theirs in pydantic models (`pipeline.schema`, `training.settings`), objectives above their
functions (`@objective`), decoding in `DecodingConfig`. `lift-harness settings`, docs/reference.md and the
comments of `recipes show --comments` are made of this and of nothing else.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lift_harness.errors import LiftError, did_you_mean

KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "mapping",
    Any: "anything",
}
LISTS = {str: "texts", int: "whole numbers", float: "numbers"}
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
COMMENT = 38  # the column of comments in a recipe


class Setting(NamedTuple):
    """A key.

    Attributes:
        name: the key.
        values: what it takes.
        default: as YAML has it; "" for one that must be given.
        about: what it means.
    """

    name: str
    values: str
    default: str
    about: str


class Section(NamedTuple):
    """Keys that stand together; `name` is the path to them, as `--set` has it."""

    name: str
    about: str
    settings: list[Setting]


def sections(group: str | None = None) -> list[Section]:
    """The settings of a group, or of all.

    Raises:
        LiftError: no such group.
    """
    if group is None:
        return [section for made in GROUPS.values() for section in made()]
    if group not in GROUPS:
        raise LiftError(f"no settings of {group!r}; {did_you_mean(group, GROUPS)}")
    return list(GROUPS[group]())


# ---------------------------------------------------------------- where they are


def recipe_parts(*names: str) -> Callable[[], Iterator[Section]]:
    """The sections of a recipe with these paths."""

    def made() -> Iterator[Section]:
        from lift_harness.pipeline.schema import SECTIONS

        for name in names:
            part = SECTIONS["" if name == "recipe" else name]
            keys = [of_field(key, field) for key, field in part.model_fields.items()]
            yield Section(name, paragraph(part), keys)

    return made


def objectives() -> Iterator[Section]:
    """What all objectives take, then each with its own options."""
    from lift_harness.training.objectives import OBJECTIVES
    from lift_harness.training.objectives.definition import COMMON

    common = [
        Setting(name, check.wanted, given(OBJECTIVES["vanilla"].options[name]), check.about)
        for name, check in COMMON.items()
    ]
    yield Section("objective", "Options of every objective, beside its name.", common)
    for name, objective in OBJECTIVES.items():
        own = [
            Setting(option, check.wanted, given(objective.defaults[option]), check.about)
            for option, check in objective.checks.items()
        ]
        yield Section(f"objective.{name}", paragraph(objective.function), own)


def decoding() -> Iterator[Section]:
    """`DecodingConfig`: its docstring says what its fields mean."""
    from lift_harness.decoding.config import KNOWN, OPTION_VALUES, VALUES, DecodingConfig
    from lift_harness.decoding.schedules import OPTIONS

    about, kinds = attributes(DecodingConfig), get_type_hints(DecodingConfig)
    keys = []
    for field in fields(DecodingConfig):
        values = ", ".join(KNOWN[field.name]) if field.name in KNOWN else kind(kinds[field.name])
        if field.name in VALUES:
            values = VALUES[field.name][1]
        if field.name in OPTION_VALUES:
            users = " or ".join(schedule for schedule, taken in OPTIONS.items() if field.name in taken)
            values = f"{kind(kinds[field.name])} {OPTION_VALUES[field.name][1]}; with schedule={users}"
        default = "unset" if field.default is None else given(field.default)
        keys.append(Setting(field.name, values, default, about[field.name]))
    yield Section("decoding", paragraph(DecodingConfig), keys)


GROUPS: dict[str, Callable[[], Iterator[Section]]] = {
    "recipe": recipe_parts("recipe", "methods"),
    "model": recipe_parts("model"),
    "data": recipe_parts("data"),
    "training": recipe_parts("training", "training.lora"),
    "objective": objectives,
    "eval": recipe_parts("eval"),
    "decoding": decoding,
}


def of_field(name: str, field: FieldInfo) -> Setting:
    """A key of a pydantic model."""
    limits = [f", {said}" for rule in field.metadata for said in limits_of(rule)]
    values, null, _ = kind(field.annotation).partition(" or null")
    default = "" if field.is_required() else given(field.default)
    return Setting(
        name, "".join([values, *limits, "," * bool(limits and null), null]), default, field.description or ""
    )


def limits_of(rule: Any) -> Iterator[str]:
    """What a rule of pydantic says of a value."""
    for key, said in LIMITS.items():
        if hasattr(rule, key):
            yield f"{said} {getattr(rule, key):,}"
    if getattr(rule, "pattern", None):
        yield f"matching `{rule.pattern}`"


def kind(annotation: Any) -> str:
    """A type, as a reader of YAML knows it."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, inside))
    if origin in (Union, UnionType):
        *others, last = [kind(one) for one in inside]
        return f"{', '.join(others)} or {last}" if NoneType not in inside else f"{', '.join(others)} or null"
    if origin is list or (origin is tuple and Ellipsis in inside):
        return f"list of {LISTS.get(inside[0], 'mappings')}"
    if origin is tuple:
        return f"{len(inside)} {LISTS[inside[0]]}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "mapping"
    return "null" if annotation is NoneType else KINDS.get(origin or annotation, "mapping")


def given(value: Any) -> str:
    """A value as YAML has it; of a whole section that its defaults are its own."""
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


def paragraph(documented: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def attributes(documented: type) -> dict[str, str]:
    """Name and meaning of what stands below `Attributes:` in a docstring."""
    below = (inspect.getdoc(documented) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    parts = re.split(r"^    (\w+): ", below, flags=re.MULTILINE)[1:]
    return {name: " ".join(about.split()) for name, about in zip(parts[::2], parts[1::2], strict=True)}


# ---------------------------------------------------------------- shown


def as_text(shown: list[Section], width: int) -> str:
    """For a terminal of that width; nothing is cut."""
    lines: list[str] = []
    for section in shown:
        lines += ["", section.name.upper(), *textwrap.wrap(section.about, width)]
        for setting in section.settings:
            default = f" = {setting.default}" if setting.default else " (must be given)"
            lines += ["", *textwrap.wrap(f"{setting.name}{default}", width)]
            for line in filter(None, (setting.about, setting.values)):
                lines += textwrap.wrap(line, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines[1:]) + "\n"


HEAD = """# Settings

Made by `lift-harness settings --markdown` from what checks them; `lift-harness settings training` prints a
part. In a recipe they stand as written here (`--set training.max_steps=100` on the command line, those of an
objective in its method); decoding settings are `--gen_kwargs`, model args and `eval.gen_kwargs`.
"""


def as_markdown(shown: list[Section]) -> str:
    """docs/reference.md."""
    parts = [HEAD]
    for section in shown:
        parts.append(f"## {section.name}\n\n{section.about}\n")
        if section.settings:
            rows = [
                [f"`{name}`", f"`{default}`" if default else "", values, about]
                for name, values, default, about in section.settings
            ]
            lines = [["key", "default", "values", "what it means"], ["---"] * 4, *rows]
            parts.append("".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines))
    return "\n".join(parts)


def cell(text: str) -> str:
    """A cell of a Markdown table."""
    return text.replace("|", "\\|")


# ---------------------------------------------------------------- comments


def commented(text: str) -> str:
    """A recipe's YAML with what each key means behind it, where it stands first; it holds what it held."""
    about = {(section.name, one.name): one.about for section in sections() for one in section.settings}
    lines = text.splitlines()
    for line, where in key_lines(yaml.compose(text, Loader=yaml.SafeLoader), "recipe"):
        section, name = where
        meaning = about.pop(where, "") or about.pop((section.partition(".")[0], name), "")
        if meaning:
            lines[line] = f"{lines[line]:{COMMENT}}  # {meaning.partition('. ')[0]}"
    return "\n".join(lines) + "\n"


def key_lines(node: Any, section: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """(line that a comment may end, (section, key)) of the keys of a YAML node, which is that section."""
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from key_lines(child, section)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        on_its_line = isinstance(value, yaml.ScalarNode) or value.flow_style
        yield (value.end_mark if on_its_line else key.end_mark).line, (section, key.value)
        yield from key_lines(value, section_below(section, key.value, value))


def section_below(section: str, key: str, value: Any) -> str:
    """Which settings the keys below a key of a recipe are."""
    below = f"{section}.{key}".removeprefix("recipe.")
    if below == "methods.objective":
        return next((f"objective.{one.value}" for name, one in value.value if name.value == "name"), below)
    return {"methods.training": "training", "eval.gen_kwargs": "decoding"}.get(below, below)
