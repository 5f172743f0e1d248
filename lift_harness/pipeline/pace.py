"""How long it will take: of a stage by its own rate, of a run by the rates of its kinds of stage.

A stage to come takes what those of its kind took that this process has seen, by its amount of work; where it
has seen none of the kind, nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping


class Pace:
    """The stages of a run by the clock.

    Args:
        clock: seconds.

    Attributes:
        to_come: stage ("METHOD/train") -> its amount of work, in a unit that all of its kind share.
        count: stages of the run.
        done, total: units of the present stage.
        worked: those of them that were done now, and not by an earlier run.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.to_come: dict[str, float] = {}
        self.count = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)  # by kind, of whole stages
        self.amounts: defaultdict[str, float] = defaultdict(float)
        self.begin("")

    def expect(self, amounts: Mapping[str, float]) -> None:
        """Say which stages there will be."""
        self.to_come = dict(amounts)
        self.count = len(self.to_come)

    def begin(self, stage: str) -> None:
        """Begin a stage."""
        self.kind, self.amount = kind_of(stage), self.to_come.pop(stage, 0.0)
        self.began = self.since = self.clock()
        self.done = self.total = self.worked = 0

    def report(self, done: int, total: int, kept: bool) -> None:
        """So many units of the stage are done; `kept`: those since the last report by an earlier run."""
        if not kept:
            self.worked += done - self.done
        elif not self.worked:  # what came before the work is no part of its rate
            self.since = self.clock()
        self.done, self.total = done, total

    def end(self) -> None:
        """End the stage."""
        took = self.expected() if self.total else self.clock() - self.began
        if took is not None:
            self.seconds[self.kind] += took
            self.amounts[self.kind] += self.amount

    def skip(self, stage: str) -> None:
        """Leave out a stage that an earlier run did."""
        self.to_come.pop(stage, None)

    # ------------------------------------------------------------ what is known

    @property
    def rate(self) -> float | None:
        """Units of the stage a second; None: not known yet."""
        seconds = self.clock() - self.since
        return self.worked / seconds if self.worked > 0 and seconds > 0 else None

    def expected(self) -> float | None:
        """Seconds that all of the stage takes, with what it did before its work."""
        return None if self.rate is None else self.since - self.began + self.total / self.rate

    def stage_left(self) -> float | None:
        """Seconds until the stage ends; None: not known."""
        return None if self.rate is None else max(0, self.total - self.done) / self.rate

    def run_left(self) -> float | None:
        """Seconds until the run ends; None: not known, because of this stage or one to come."""
        left, expected = self.stage_left(), self.expected()
        if left is None or expected is None:
            return None
        seconds, amounts = self.seconds.copy(), self.amounts.copy()
        seconds[self.kind] += expected
        amounts[self.kind] += self.amount
        for stage, amount in self.to_come.items():
            kind = kind_of(stage)
            if not amounts[kind]:
                return None
            left += amount * seconds[kind] / amounts[kind]
        return left


def kind_of(stage: str) -> str:
    """The kind, train or eval, of METHOD/train, METHOD/eval."""
    return stage.rpartition("/")[2]
