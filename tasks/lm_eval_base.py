"""The lm-eval class that `ProtocolTask` extends, and what of it differs between lm-eval's releases.

0.4.13, which is what is tested against, has `ConfigurableTask`. 0.5 (`v0.5.0.dev1`, unreleased) makes `Task`
abstract in how it builds requests, with `GenerateTask` for generated text; it scores by "scorers", knows no
`doc_to_prefix`, makes a list of a problem's request, and hands out responses without the list around them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lm_eval.api import task as lm_eval_task

Base: Any = getattr(lm_eval_task, "GenerateTask", None) or lm_eval_task.ConfigurableTask
BY_SCORERS = hasattr(Base, "process_instances")


class LmEvalTask(Base):
    """A generating task in either of them.

    Attributes:
        predicts_only: no metrics are asked for (`--predict_only`).
    """

    predicts_only = False

    def override_metric(self, metric_name: str) -> None:
        """Replace all metrics by one; lm-eval does so with "bypass" for `--predict_only`."""
        super().override_metric(metric_name)
        self.predicts_only = metric_name == "bypass"

    def doc_to_prefix(self, doc: dict[str, Any]) -> str:
        """What the response begins with, as part of the prompt."""
        of_doc: Callable[..., Any] | None = getattr(super(), "doc_to_prefix", None)
        prefix = of_doc(doc) if of_doc else self._resolve_field(doc, self.config.gen_prefix)
        return prefix or ""

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **kwargs: Any) -> Any:
        """The one request of a problem."""
        made = super().construct_requests(doc, ctx, **kwargs)
        return made[0] if isinstance(made, list) else made

    @staticmethod
    def responses(results: list[Any]) -> list[str]:
        """A problem's n responses, of what `process_results` is given: [[text, ...]] or [text, ...]."""
        return results if BY_SCORERS else results[0]

    @staticmethod
    def reported(metrics: dict[str, Any]) -> dict[str, Any]:
        """Metrics as `process_results` returns them: scorers take a list of values, and a tuple for one."""
        return {name: [value] for name, value in metrics.items()} if BY_SCORERS else metrics
