"""Masked diffusion language models in lm-evaluation-harness: decode, evaluate, train, compare.

    model = lift_harness.load("lift-tiny")
    model.solve("sudoku_mini", 3)
    model.generate("Why is the sky blue?", temperature=0.7)
    lift_harness.evaluate("lift-tiny", ["sudoku_mini"], limit=16)
    lift_harness.train_eval("quickstart", training={"max_steps": 20})
    lift_harness.compare("runs/a", "runs/b")

Every Python process imports this module at start-up (see `plugin.startup`), so it imports nothing until one
of these is asked for (`api`, and `compare`, a package that can be called).
"""

__version__ = "0.1.0"
__all__ = ["compare", "evaluate", "load", "train_eval"]

TYPE_CHECKING = False  # typing's takes its time to import
if TYPE_CHECKING:
    from lift_harness import compare
    from lift_harness.api import evaluate, load, train_eval


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "compare":
        return import_module("lift_harness.compare")
    return getattr(import_module("lift_harness.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
