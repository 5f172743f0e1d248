"""The lm-eval side: the model `lift_dlm`, and evaluations through lm-eval.

`LiftDLM` is loaded when it is first asked for: reading a run's scores imports neither torch nor lm-eval.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lift_harness.lm.model import LiftDLM

__all__ = ["LiftDLM"]


def __getattr__(name: str) -> Any:
    if name != "LiftDLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lift_harness.lm.model import LiftDLM

    return LiftDLM
