"""The numbers of the presets: beside what was run under them as they are, and beside nothing else."""

import pytest
from support.eval_files import DECODING, answered, write_eval

from lift_harness.compare import compare, load, quoting
from lift_harness.compare.published import MODELS, PRESETS, candidates
from lift_harness.tasks.benchmarks import load_benchmark
from lift_harness.tasks.catalog import task_config
from lift_harness.tasks.presets import preset
from lift_harness.tasks.wording import wording_of

LLADA = "GSAI-ML/LLaDA-8B-Instruct"
IDS = {known: hub for hub, known in MODELS.items()}


def test_numbers_that_stand_in_the_tables_of_compare_too_are_equal():
    """Of LIFT, GIFT and density-driven masking: the same number, found another way."""
    quoted = [one for one in PRESETS if one.preset in ("lift", "gift", "density")]
    assert len(quoted) >= 14
    for one in quoted:
        others = candidates(IDS[one.model], "base", one.task, one.metric, gen_length=one.gen_length)
        assert one.percent in [number.percent for number in others if number.paper == one.paper], one


def evaluated(folder, name, task, model=LLADA, correct=80, **changed):
    """A row of results files as a run under a preset leaves them."""
    wanted = preset(name).task(task)
    words = vars(wording_of(task, load_benchmark(task_config(task)["benchmark"]), wanted.prompts(task)))
    stops = (
        wanted.until
        if wanted.until is not None
        else task_config(task).get("generation_kwargs", {}).get("until", [])
    )
    decoding = {
        **DECODING,
        **task_config(task)["metadata"]["decoding"],
        **wanted.decoding,
        "until": list(stops),
    }
    metadata = {"preset": name, **words, "subset": wanted.subset} | changed.pop("metadata", {})
    shots = changed.pop("shots", wanted.num_fewshot)
    decoding |= changed
    lines = answered([1] * correct + [0] * (100 - correct))
    write_eval(folder, {task: lines}, pretrained=model, decoding=decoding, metadata=metadata, shots=shots)
    return compare(load([folder]))


def cell_of(found, metric="acc"):
    (cell,) = (one for one in found.cells.values() if one.metric == metric)
    return cell


def test_the_number_stands_beside_ours_with_whether_it_lies_within(tmp_path):
    found = evaluated(tmp_path / "a", "fast-dllm", "lift_gsm8k_plain")
    cell = cell_of(found)
    assert (cell.published.value, cell.published.what) == (pytest.approx(0.793), "preset fast-dllm")
    notes = list(quoting.published_notes(found))
    assert any(
        "acc: 80.0, 95 % 71.1 to 86.7; published under preset fast-dllm: 79.3, within it" in one
        for one in notes
    )
    assert "preset fast-dllm: unconfirmed: metric (docs/presets.md)" in notes
    notes = list(
        quoting.published_notes(evaluated(tmp_path / "b", "fast-dllm", "lift_gsm8k_plain", correct=60))
    )
    assert any("published under preset fast-dllm: 79.3, outside it" in one for one in notes)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"steps": 128}, "decoded otherwise: steps 128, not 256"),
        ({"temperature": 0.7}, "decoded otherwise: temperature 0.7, not 0"),
        ({"until": []}, "other texts end an answer than under preset fast-dllm"),
        ({"max_gen_toks": 100}, "at most 100 tokens an answer, not 256"),
        ({"shots": 4}, "4 worked examples in the prompt, not 5"),
        ({"metadata": {"question": "{question}"}}, "asked in other words than preset fast-dllm's"),
    ],
)
def test_where_the_user_changed_something_it_is_not_shown(tmp_path, changed, reason):
    found = evaluated(tmp_path / "a", "fast-dllm", "lift_gsm8k_plain", **changed)
    assert cell_of(found).published is None
    assert any(reason in one for one in quoting.published_notes(found))


def test_it_is_of_that_model_and_that_preset(tmp_path):
    assert (
        cell_of(evaluated(tmp_path / "a", "fast-dllm", "lift_gsm8k_plain", model="lift-tiny")).published
        is None
    )
    found = evaluated(tmp_path / "b", "fast-dllm", "lift_gsm8k_plain", metadata={"preset": None})
    assert cell_of(found).published is None
    lift, gift = (cell_of(evaluated(tmp_path / name, name, "lift_gsm8k")) for name in ("lift", "gift"))
    assert (lift.published.value, gift.published.value) == (pytest.approx(0.761), pytest.approx(0.768))
    assert gift.published.preset == "gift"


def test_every_preset_as_it_is_has_its_number(tmp_path):
    for i, one in enumerate(PRESETS):
        if one.metric == "acc" and task_config(one.task)["repeats"] == 1:
            cell = cell_of(evaluated(tmp_path / str(i), one.preset, one.task, model=IDS[one.model]))
            assert cell.published and 100 * cell.published.value == pytest.approx(one.percent), one
