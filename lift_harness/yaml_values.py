"""YAML from outside: recipes, and values on the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lift_harness.errors import LiftError
from lift_harness.files import DEPTH, nested_too_deeply, read_text

TEXT = 1 << 20  # bytes
VALUES = 50_000  # keys, values and lists, with each alias in full: some seconds of PyYAML's time


class Loader(yaml.SafeLoader):
    """YAML of bounded size and nesting, in which no key stands twice."""

    depth, values = 0, 0  # of what is being composed

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value, counted before what is in it is read: PyYAML's time grows with the square of the depth."""
        self.depth, self.values = self.depth + 1, self.values + 1
        if self.depth > DEPTH + 1:
            raise LiftError(nested_too_deeply())
        if self.values > VALUES:
            raise LiftError(too_many_values())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """The document, which is looked at before anything is made of it."""
        node = super().get_single_node()
        if node is not None:
            count_values(node)
        return node


def count_values(node: yaml.Node) -> None:
    """Refuse a document that is nested too deeply, or whose aliases make few lines very large.

    Raises:
        LiftError: either, or an alias inside what it stands for.
    """
    sizes: dict[yaml.Node, int] = {}  # of each node, with its aliases in full
    open_nodes: set[yaml.Node] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if depth > DEPTH or node in open_nodes:
            raise LiftError(nested_too_deeply())
        if node not in sizes:
            check_keys(node)
            open_nodes.add(node)
            sizes[node] = 1 + sum(size(child, depth + 1) for child in children(node))
            open_nodes.remove(node)
        return sizes[node]

    if size(node, 0) > VALUES:
        raise LiftError(too_many_values())


def check_keys(node: yaml.Node) -> None:
    """Refuse a mapping with a key twice: the first value would be lost without a word."""
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if (key.tag, key.value) in seen:
                raise LiftError(f"the key {key.value!r} stands twice")
            seen.add((key.tag, key.value))


def too_many_values() -> str:
    """The end of a message."""
    return f"more than {VALUES:,} values, each alias in full"


def children(node: yaml.Node) -> list[yaml.Node]:
    """The keys and values of a mapping, the items of a list."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def read_yaml(file: Path, called: str | None = None) -> Any:
    """What a YAML file holds.

    Raises:
        OSError: it is not there, or may not be read.
        LiftError: no file, too large, nested too deeply, not UTF-8, no YAML, or with a key twice.
    """
    return parse_yaml(read_text(file, called, TEXT), called or str(file))


def parse_yaml(text: str, called: str) -> Any:
    """What a YAML text holds; errors as `read_yaml`."""
    if len(text) > TEXT:
        raise LiftError(f"{called}: larger than {TEXT:,} bytes, more than is read")
    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except RecursionError as error:
        raise LiftError(f"{called}: {nested_too_deeply()}") from error
    except LiftError as error:
        raise LiftError(f"{called}: {error}") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # Beside its own errors PyYAML lets through what Python says of `!!int ""`, 2026-99-99 and the like.
        raise LiftError(f"{called}: not YAML: {' '.join(str(error).split())}") from error


def yaml_value(text: str, called: str) -> Any:
    """A YAML value; 1e-3 is a number, which YAML 1.1 takes for a text. Errors as `parse_yaml`."""
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", text.strip()):
        return float(text)
    return parse_yaml(text, called)
