"""The assertions of a test file that a question can show, as MBPP's questions show theirs."""

from __future__ import annotations

import ast
import builtins

SHOWN = 3  # as many as MBPP has


def assertions(tests: str) -> list[str]:
    """The first three `assert` statements that stand alone: they call one name, and use no other.

    KodCode's tests are pytest files; many compare in other ways too (local variables, raises).
    """
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert) and stands_alone(node, made)]
    asserts.sort(key=lambda node: node.lineno)
    return list(dict.fromkeys(f"assert {ast.unparse(node.test)}" for node in asserts))[:SHOWN]


def stands_alone(node: ast.Assert, made: set[str]) -> bool:
    """Whether an assertion uses one name that the test file does not make, and else only built-in ones."""
    names = {name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)}
    own = {name for name in names if not hasattr(builtins, name)}
    return len(own) == 1 and not own & made
