"""What a run shows while it runs: in a terminal of 80 columns, and as lines where there is none."""

import io

import pytest
from support.tiny_runs import run
from tqdm import tqdm

from lift_harness.console import Console
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.evaluation import quiet
from lift_harness.pipeline.pace import Pace
from lift_harness.tasks.protocol import load_task

# base is evaluated, a is trained and evaluated, b too; a step of b is half as much again.
WORK = {"base/eval": 1, "a/train": 100, "a/eval": 1, "b/train": 150, "b/eval": 1}


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def display(width=80, terminal=True):
    clock = Clock()
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    shown = Display(console, clock)
    shown.pace.expect(WORK)
    return shown, clock


def bars(shown):
    """The lines of the bars as they are now."""
    console = Console(file=io.StringIO(), width=shown.console.width, force_terminal=True, color_system=None)
    console.print(shown.bars.get_renderable())
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_bars_keep_the_time_left_and_the_run_has_one(width):
    shown, clock = display(width)
    with shown.stage("base/eval") as progress:
        clock.now += 60
        progress(300, 1200, "one")
        stage, whole = bars(shown)
        assert "300/1,200 tokens" in stage and "3.0 min left" in stage
        assert "whole run" in whole and "0/5 stages" in whole and "time unknown" in whole
        clock.now += 180
        progress(1200, 1200, "one")
    with shown.stage("a/train") as progress:
        progress(0, 10, kept=True)
        clock.now += 40
        progress(1, 10, "loss 0.512, lr 1.0e-05, hardest 33%, easiest 34%, NELBO 0.498")
        stage, whole = bars(shown)
    assert all(len(line) <= width for line in (stage, whole))
    assert "a: train" in stage and "1/10 steps" in stage and "6.0 min left" in stage and "loss 0.512" in stage
    assert ("40.0 s/step" in stage) == (width == 200) and ("…" in stage) == (width == 80)
    # 360 s of a/train, 600 of b/train, 240 for each of two evaluations
    assert "1/5 stages" in whole and "24.0 min left" in whole
    assert not bars(shown)


def test_a_long_name_and_large_counts_leave_room_for_the_time_at_80_columns():
    shown, clock = display()
    with shown.stage("lift-H10-learning_rate5e-06/seed-12/eval") as progress:
        clock.now += 9
        progress(123_456, 12_345_678, "samples")
        stage, _ = bars(shown)
    assert len(stage) <= 80 and stage.startswith("…te5e-06/seed-12: eval ")
    assert "123,456/12,345,678 tokens" in stage and "14.9 min left" in stage


def test_without_a_terminal_there_is_a_line_every_half_minute():
    shown, clock = display(terminal=False)
    with shown.stage("base/eval") as progress:
        clock.now += 20
        progress(4, 8, "one")
        clock.now += 20
        progress(8, 8, "one")
    with shown.stage("a/train") as progress:
        progress(0, 1000, kept=True)
        for step in range(1, 1001):
            clock.now += 0.25
            progress(step, 1000, "loss 0.512")
    lines = shown.console.file.getvalue().splitlines()
    assert lines[0].split("; ") == [
        "  base: eval: 8/8 tokens, one, 5.0 s/token, 0 s left",
        "whole run: stage 1 of 5, time unknown",
    ]
    assert lines[1] == "  base: eval: 40 s"
    # 1,000 steps of a at 4 a second, 375 s of b, 40 s for each of two evaluations
    assert lines[2].split("; ") == [
        "  a: train: 120/1,000 steps, loss 0.512, 4.0 steps/s, 3.7 min left",
        "whole run: stage 2 of 5, 11.2 min left",
    ]
    assert [line.split(" ")[4] for line in lines[2:-1]] == [f"{n}/1,000" for n in range(120, 1000, 120)]
    assert lines[-1] == "  a: train: 250 s"


def test_what_is_not_measured_is_unknown_and_what_was_kept_is_no_work():
    clock = Clock()
    pace = Pace(clock)
    pace.expect(WORK)
    pace.skip("base/eval")
    pace.begin("a/train")
    clock.now += 7  # loading
    pace.report(60, 100, kept=True)
    assert pace.rate is None and pace.stage_left() is None
    clock.now += 20
    pace.report(80, 100, kept=False)
    assert pace.rate == 1 and pace.stage_left() == 20 and pace.run_left() is None  # no evaluation was seen
    clock.now += 20
    pace.report(100, 100, kept=False)
    pace.end()
    pace.begin("a/eval")
    clock.now += 3
    pace.report(0, 50, kept=True)
    clock.now += 5
    pace.report(10, 50, kept=False)
    pace.report(20, 50, kept=True)  # of the next run of the stage
    # 15 s of this evaluation, 28 of the other; b has half as much again as the 107 s of the whole of a
    assert pace.stage_left() == 15
    assert pace.run_left() == pytest.approx(15 + 1.5 * 107 + 28)


def test_a_stage_that_an_earlier_run_did_all_but_the_end_of_measures_nothing():
    clock = Clock()
    pace = Pace(clock)
    pace.expect(WORK)
    pace.begin("base/eval")
    clock.now += 3
    pace.report(50, 50, kept=True)
    pace.end()
    assert not pace.amounts


def test_a_run_counts_tokens_pass_by_pass_and_shows_its_validation(tmp_path, monkeypatch):
    seen = {}
    original = Display.stage

    def watched(self, name):
        reports = seen.setdefault(name, [])
        return recording(original(self, name), reports)

    monkeypatch.setattr(Display, "stage", watched)
    sampled = ["eval.limit=2", "eval.samples=2", "eval.sample_limit=2"]
    run(tmp_path, ["validation=3", "training.eval_steps=1", *sampled])
    for stage in ("base/eval", "lift-h3/eval"):
        tokens = [done for done, *_ in seen[stage]]
        # One answer and two samples to two problems, 16 tokens each in two passes.
        assert {total for _, total, *_ in seen[stage]} == {6 * 16} and tokens[-1] == 6 * 16
        assert tokens == sorted(tokens) and len(set(tokens)) >= 4
    steps = [(done, note) for done, _, note, _ in seen["lift-h3/train"]]
    for step in (1, 2):
        assert [note for done, note in steps if done == step and "validation" in note] == [
            f"validation {n}/3" for n in (1, 2, 3)
        ]
    assert seen["lift-h3/train"][0] == (0, 2, "", True)


class recording:
    """A stage of a display whose reports are written down."""

    def __init__(self, stage, reports):
        self.stage, self.reports = stage, reports

    def __enter__(self):
        progress = self.stage.__enter__()

        def write_down(done, total, note="", kept=False):
            self.reports.append((done, total, note, kept))
            progress(done, total, note, kept)

        return write_down

    def __exit__(self, *exc):
        return self.stage.__exit__(*exc)


def test_a_run_leaves_no_bar_of_lm_evals(monkeypatch, capsys):
    monkeypatch.setattr("lm_eval.api.task.tqdm", tqdm)  # and puts ours back at the end
    task = load_task("lift_sudoku_mini")
    task.build_all_requests(limit=1, rank=0, world_size=1)
    assert "it/s" in capsys.readouterr().err
    quiet()
    task.build_all_requests(limit=1, rank=0, world_size=1)
    assert capsys.readouterr().err == "" and len(task.instances) == 1
