"""Texts in the report: whatever a model generates stays a text, and what does not fit is left out by rule."""

import json
import re
import subprocess
import sys

import pytest
from support.eval_files import write_log
from support.report_runs import embedded, sample_line, write_evaluation, write_small_run

from lift_harness.report import write_report
from lift_harness.report.answers import Problem
from lift_harness.report.embed import RULES, Cut, Sizes, browser, entry, ranks, size
from lift_harness.report.page import page_data
from lift_harness.report.run import Arm, Run
from lift_harness.results.logs import Item, Notes

# ------------------------------------------------------------ untrusted texts

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<!-- </SCRIPT  >",
    "<![CDATA[ ]]>",
    "\ud800 half \udc00",
    "nul \x00 and \x1b[31m and \x7f and \u2028\u2029\ufeff",
    '"quotes\\" & &amp; \u202e right to left',
    "@@data@@ \\u003c @@script@@",
    "\U0001f600 \u4f60\u597d",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_come_back_as_they_were_and_end_nothing(tmp_path, text):
    line = sample_line(0, [text], [1.0], question=text, target=text, doc={"level": text, "subject": text})
    write_evaluation(tmp_path / "base", "task", [line, sample_line(1, ["x"], [0.0])])
    trace = {
        "task": "task",
        "doc_id": 0,
        "sample": 0,
        "label": "one",
        "tokens": [text],
        "step": [0],
        "confidence": [1],
    }
    write_log(tmp_path / "base" / "eval" / "traces.jsonl", [trace])
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": text, "description": text}))
    raw = write_report(tmp_path).read_bytes()
    data = embedded(raw.decode("utf-8"))
    item = data["browser"]["items"][0]
    assert item["question"] == item["target"] == item["answers"][0][4][0] == text
    assert data["browser"]["traces"][0]["tokens"] == [text]
    assert raw.count(b"</script>") == 3 and b"\x00" not in raw


def test_a_text_of_a_megabyte_is_cut_in_its_middle_and_the_page_says_so(tmp_path):
    text = "a" * 400_000 + "MIDDLE" + "b" * 600_000
    write_evaluation(tmp_path / "base", "task", [sample_line(0, [text], [1.0])])
    page = write_report(tmp_path)
    assert page.stat().st_size < 300_000
    browser = embedded(page.read_text())["browser"]
    kept = browser["items"][0]["answers"][0][4][0]
    match = re.fullmatch(r"(a{13333})\n\[\.\.\. 980,006 characters left out \.\.\.\]\n(b{6667})", kept)
    assert match, kept[:50]
    assert browser["left_out"] == [
        "1 text of more than 20,000 characters: 980,006 characters left out of their middles."
    ]


@pytest.mark.parametrize(("n", "cut"), [(20_000, False), (20_001, True)])
def test_a_text_of_20000_characters_is_whole(tmp_path, n, cut):
    write_evaluation(tmp_path / "base", "task", [sample_line(0, ["a" * n], [1.0])])
    data = page_data(tmp_path)["browser"]
    assert (data["items"][0]["answers"][0][4] != ["a" * n]) == bool(data["left_out"]) == cut


def test_texts_give_way_to_verdicts_when_there_are_too_many(tmp_path):
    """36 MB of answers: under 15 MB, all verdicts, the whole texts of as much as the rule says."""
    text = "<|endoftext|>" * 20 + "word " * 150
    many = [sample_line(i, [text] * 8, [float(i % 2)] * 8, question=f"Q{i}") for i in range(2000)]
    one = [sample_line(i, [text], [float(i % 2)], question=f"Q{i}") for i in range(2000)]
    for row in ("base", "m"):
        write_evaluation(tmp_path / row, "task", one, many)
    page = write_report(tmp_path)
    assert page.stat().st_size < 15_000_000
    browser = embedded(page.read_text())["browser"]
    assert len(browser["items"]) == 2000
    for i, item in enumerate(browser["items"]):
        assert [answer[2] for answer in item["answers"]] == [[i % 2], [i % 2] * 8] * 2
    whole = [answer[4] is not None for answer in browser["items"][-1]["answers"]]
    assert whole == [True, False, True, False]
    assert browser["items"][0]["answers"][1][4] is not None  # of the first hundred
    assert "The texts of the n samples are here for the first 100 problems of each task" in " ".join(
        browser["left_out"]
    )


def problems_of(n, answers=1, length=40):
    """n problems of one task and what two methods answered."""
    made = []
    for i in range(n):
        problem = Problem("task", str(i), {}, f"Q{i}", "18")
        for arm in ("base", "m"):
            judged = {"acc": tuple(float(k % 2) for k in range(answers))}
            texts = tuple(f"{arm} {k} ".ljust(length, "x") for k in range(answers))
            item = Item(str(i), str(i), {}, "18", f"Q{i}", None, texts, {}, judged, answers // 2)
            problem.answers[arm, "samples" if answers > 1 else "one"] = item
        made.append(problem)
    return made


def run_of(folder):
    arms = [Arm(name, name, folder, []) for name in ("base", "m")]
    return Run(folder, {}, "", {}, {}, [], arms, Notes())


@pytest.mark.parametrize("answers", [1, 16])
def test_a_page_of_more_problems_than_it_can_list_has_the_first_and_says_so(tmp_path, answers):
    """The budget is a hundredth of the page's, the problems a hundredth of 400,000 and more."""
    problems = problems_of(4000, answers)
    traces = [{"item": 0, "arm": 0}, {"item": 3999, "arm": 0}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lift_harness.report.embed.histories", lambda *_: (traces, []))
        data = browser(run_of(tmp_path), problems, 140_000)
    assert size(data) <= 140_000
    (said,) = data["left_out"]
    first = int(re.search(r"first ([\d,]+) problems", said)[1].replace(",", ""))
    assert "the tables count all" in said and 0 < first < 4000
    assert [item["id"] for item in data["items"]] == [str(i) for i in range(first)]
    assert [trace["item"] for trace in data["traces"]] == [0]
    assert (data["items"][0]["answers"][0][4] is None) == (answers > 1)  # of n samples only the verdicts


def test_where_no_problem_fits_none_is_there(tmp_path):
    data = browser(run_of(tmp_path), problems_of(50), 100)
    assert data["items"] == [] and "none is here" in data["left_out"][0]


def test_sizes_are_never_above_what_is_made(tmp_path):
    problems, run = [*problems_of(300), *problems_of(40, 7, 5000)], run_of(tmp_path)
    sizes, frames = Sizes(problems), {"task": ("", "")}
    for rule in RULES:
        of = [(rank, one) for rank, one in ranks(problems) if rule.listed is None or rank < rule.listed]
        made = [entry(run, one, frames, Cut(rule.limit), rule, rank) for rank, one in of]
        assert 0.1 * size(made) <= sizes.least(rule) + 2 <= size(made) + 2


def test_what_else_a_page_holds_is_bounded_too(tmp_path):
    """A foreign recipe of 2 MB, a frequency table of 9 MB, notes without end."""
    small = write_small_run(tmp_path / "run")
    recipe = (small / "recipe.yaml").read_text()
    (small / "recipe.yaml").write_text(recipe + "# " + "long " * 400_000)
    (small / "analysis").mkdir()
    table = ["t,frequency_low,frequency_high,count,confidence_mean,confidence_stderr"]
    table += [f"{i},0.1,0.2,5,0.5,0.1" for i in range(100_000)]
    (small / "analysis" / "frequency.csv").write_text("\n".join(table))
    for i in range(300):
        (small / f"other-{i}").mkdir()
        (small / f"other-{i}" / "frequency.csv").write_text("nothing")
    page = write_report(small)
    assert page.stat().st_size < 15_000_000
    data = embedded(page.read_text())
    assert "characters left out" in data["header"]["recipe"] and len(data["header"]["recipe"]) < 201_000
    assert data["frequency"] == [] and "more notes are left out" in data["notes"][-1]
    assert any("'frequency' is left out" in note for note in data["notes"])
    assert data["summary"]["lift_gsm8k"]["acc"]["rows"]["base"]["value"] == 1 / 3


def test_too_many_histories_leave_the_later_samples_out(tmp_path):
    write_evaluation(
        tmp_path / "base", "task", [sample_line(i, ["x"], [1.0], question=f"Q{i}") for i in range(40)]
    )
    tokens = ["token "] * 4000
    traces = [
        {
            "task": "task",
            "doc_id": i,
            "sample": s,
            "label": "samples" if s else "one",
            "tokens": tokens,
            "step": list(range(4000)),
            "confidence": [0.5] * 4000,
        }
        for i in range(40)
        for s in range(3)
    ]
    write_log(tmp_path / "base" / "eval" / "traces.jsonl", traces)
    browser = page_data(tmp_path)["browser"]
    n = len(browser["traces"])
    one = size(browser["traces"][0])
    assert n * one <= 3_000_000 < (n + 1) * one + 1000  # as docs/report.md says
    assert 30 < n < 80 and f"{120 - n} of 120 decoding histories are left out." in browser["left_out"]
    assert all(trace["label"] == 0 for trace in browser["traces"][:40])


# ------------------------------------------------------------ the page itself


def test_the_page_names_no_other_place_and_makes_no_html_of_texts(tmp_path):
    small = write_small_run(tmp_path / "run")
    page = write_report(small).read_text()
    program = page.split('id="data"')[0] + page.split('id="data"')[1].split("</script>", 1)[1]
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", program))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "DOMParser",
        "createContextualFragment",
    ):
        assert word not in program
    assert (
        "default-src 'none'" in program
        and "unsafe" not in program.split("Content-Security-Policy")[1].split(">")[0]
    )


def test_the_same_run_gives_the_same_page(tmp_path):
    small = write_small_run(tmp_path / "run")
    assert write_report(small).read_bytes() == write_report(small, small / "again.html").read_bytes()


def test_torch_is_not_imported():
    code = "import sys, lift_harness.report; print({'torch', 'transformers', 'lm_eval'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
