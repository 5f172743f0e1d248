"""The page of a sweep: its data against the logs, and what a reader sees and does."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from support import chromium
from support.report_runs import DECODED, SWEPT, write_large_run, write_sweep

from lift_harness.compare import compare, load
from lift_harness.report import write_report
from lift_harness.report.page import page_data

needs_browser = pytest.mark.skipif(chromium.find() is None, reason=chromium.ABSENT)
TASK = "lift_gsm8k"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return write_sweep(tmp_path_factory.mktemp("swept") / "swept")


@pytest.fixture
def opened(browser, swept):
    browser.open(write_report(swept))
    yield browser
    assert browser.complaints() == [] and browser.requests() == []


# ------------------------------------------------------------ data


def test_the_speeds_are_those_of_the_files(swept):
    data = page_data(swept)
    assert data["sweep"] and set(data["baselines"].values()) == {"protocol"}
    found = data["speeds"][TASK]
    assert found["metric"] == "acc" and set(found["rows"]) == set(SWEPT)
    for row, (_, passes, rate, _) in SWEPT.items():
        ours = found["rows"][row]
        assert (ours["tokens"], ours["passes"], ours["tokens_per_pass"]) == (100, passes, 100 / passes)
        assert (ours["tokens_per_second"], ours["peak_memory_bytes"]) == (rate, 2**30)
        assert ours["decoding"] == DECODED[row]
        assert (ours["same"], ours["of"]) == ((None, None) if row == "protocol" else (3, 10))
    fronts = {row: found["rows"][row]["front"] for row in SWEPT}
    assert fronts == {
        "protocol": ["tokens_per_pass"],  # as many tokens a pass as with the cache, and as accurate
        "cache=dual": ["tokens_per_pass", "tokens_per_second"],
        "tokens_per_step=4": ["tokens_per_pass", "tokens_per_second"],
    }
    difference = data["differences"][TASK]["acc"]["tokens_per_step=4"]
    assert difference["value"] == pytest.approx(-0.3) and difference["baseline"] == "protocol"
    assert (difference["gained"], difference["lost"], difference["items"]) == (0, 3, 10)
    assert not data["costs"] and not data["training"]
    assert not [note for note in data["notes"] if "training" in note or "other settings" in note]


def test_differences_are_those_of_compare(tmp_path):
    folder = write_large_run(tmp_path / "run", 30, sampled=10, traces=0)
    data = page_data(folder)
    expected = compare(load([folder]), baseline="base").differences
    assert expected and not data["speeds"] and not data["sweep"]
    for (row, task, metric), difference in expected.items():
        found = data["differences"][task][metric][row]
        assert (found["value"], found["low"]) == (difference.value, difference.interval.low)
        assert found["p"] == difference.adjusted


def test_models_of_a_sweep_are_compared_each_with_its_own_baseline(tmp_path):
    folder = write_sweep(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["rows"][2] |= {"baseline": "tokens_per_step=4"}
    (folder / "results.json").write_text(json.dumps(results))
    data = page_data(folder)
    assert list(data["differences"][TASK]["acc"]) == ["cache=dual"]
    assert set(data["speeds"][TASK]["rows"]) == set(data["summary"][TASK]["acc"]["rows"]) == set(SWEPT)
    assert data["speeds"][TASK]["rows"]["protocol"]["front"] == ["tokens_per_pass"]  # among all


def test_a_sweep_of_which_the_file_says_nonsense(tmp_path):
    folder = write_sweep(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    first, second, third = results["rows"]
    first |= {"baseline": "cache=dual", "decoding": {"a": 1}}
    second |= {"baseline": "protocol"}  # of each other
    third |= {"baseline": "gone"}
    results["rows"] = [first, second, third, 7, {}]
    (folder / "results.json").write_text(json.dumps(results))
    data = page_data(folder)
    assert set(data["differences"][TASK]["acc"]) == {"protocol", "cache=dual"}
    assert data["speeds"][TASK]["rows"]["protocol"]["decoding"] == "exact"


def test_a_sweep_that_was_interrupted_has_a_page(tmp_path):
    folder = write_sweep(tmp_path / "run")
    (folder / "results.json").unlink()
    data = page_data(folder)
    assert data["sweep"] and set(data["speeds"][TASK]["rows"]) == set(SWEPT)
    assert data["speeds"][TASK]["rows"]["cache=dual"]["decoding"] == "approximate"
    assert len(set(data["baselines"].values())) == 1


# ------------------------------------------------------------ what a reader sees


@needs_browser
def test_the_scatter_has_points_whiskers_stairs_and_the_baseline(opened):
    assert opened.each("#speed figcaption .sub") == [
        "acc by tokens a forward pass (TPF)",
        "acc by tokens a second",
    ]
    first = "#speed figure:nth-child(1) svg"
    assert len(opened.each(f"{first} .whisker", "1")) == 3
    assert len(opened.each(f"{first} circle.ring:not([visibility])", "1")) == 1
    heights = opened.each("#speed figure .line", "e.getAttribute('d')")
    assert all(re.fullmatch(r"M[\d. ]+(V[\d.]+H[\d.]+)*", path) for path in heights)
    assert len(re.findall("V", heights[0])) == 2  # protocol and cache=dual, which are equal, and the fast one
    lines = opened.each("#speed tbody tr")
    assert [line.split("\t")[0] for line in lines[-3:]] == list(SWEPT)
    assert "\u221230.0" in lines[-1] and "3 / 10" in lines[-1] and "other schedule" in lines[-1]


@needs_browser
def test_arrow_keys_walk_through_the_points_of_a_plot(opened):
    opened.js("document.querySelector('#speed svg[role=img]').focus()")
    opened.key("ArrowRight", 39)
    tip = opened.text("#tip").splitlines()
    assert tip[0] == "protocol (baseline)" and tip[1] == "acc 80.0 %"
    opened.key("ArrowRight", 39)
    opened.key("ArrowRight", 39)
    tip = opened.text("#tip").splitlines()
    assert tip[0] == "tokens_per_step=4" and "tokens a forward pass (TPF): 4" in tip
    assert "the same answer to 3 of 10 problems; other schedule" in tip[-1]
    opened.js("document.activeElement.blur()")
    assert opened.js("document.querySelector('#tip').hidden")


@needs_browser
def test_a_plot_is_saved_as_it_is(opened):
    opened.js(
        "URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'blob:null/x'; };"
        "HTMLAnchorElement.prototype.click = function () { window.savedAs = this.download; };"
    )
    opened.click("#speed .save")
    assert opened.js("window.savedAs") == "lift_gsm8k-acc-by-tokens-a-forward-pass-TPF-.svg"
    text = opened.js("window.saved")
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text and "NaN" not in text
    drawn = opened.js("document.querySelector('#speed svg[role=img]').querySelectorAll('*').length")
    assert len(list(root.iter())) == drawn + 2  # itself, and the background


@needs_browser
def test_two_replays_side_by_side(opened):
    assert opened.each("#replay .canvas", "e.id") == ["canvas", "canvas-2"]
    assert opened.js("document.querySelector('#replay-beside').selectedOptions[0].text").startswith(
        "tokens_per_step=4"
    )
    assert "Step 16 of 16" in opened.text("#step-said") and "Step 4 of 4" in opened.text("#step-said-2")
    opened.click("#play-both")
    opened.wait("document.querySelector('#step-2').value === '4'")
    assert 3 <= int(opened.js("document.querySelector('#step').value")) <= 7  # a step for a step
    opened.wait("document.querySelector('#play').textContent === 'Play'")
    assert opened.js("document.querySelector('#step').value") == "16"
    opened.choose("#replay-beside", "nothing")
    assert opened.each("#replay .canvas", "e.id") == ["canvas"]
    assert opened.js("document.querySelector('#play-both').disabled")


@needs_browser
def test_a_link_opens_its_problem_and_replay(browser, tmp_path):
    page = write_report(write_large_run(tmp_path, 60, traces=3))
    browser.open(page)
    browser.choose("#filter-task", "lift_gsm8k")
    browser.js("location.hash = '#problem/lift_math500/2/replay'")
    browser.wait("document.querySelector('#detail h3').innerText === 'lift_math500 #2'")
    assert browser.js("document.querySelector('#filter-task').value") == ""
    assert browser.js("Math.abs(document.querySelector('#replay').getBoundingClientRect().top) < 100")
    copy = browser.js("document.querySelector('#detail .bar button').ariaLabel")
    assert copy == f"Copy link: {page.resolve().as_uri()}#problem/lift_math500/2"
    browser.send("Page.navigate", url="about:blank")
    browser.send("Page.navigate", url=copy.removeprefix("Copy link: "))
    browser.wait("document.querySelector('#detail h3')?.innerText === 'lift_math500 #2'")
    browser.js("location.hash = '#problem/none/%ff'")  # no such problem, and no text: nothing happens
    browser.settle()
    assert browser.text("#detail h3") == "lift_math500 #2"


@needs_browser
def test_differences_stand_beside_the_results(browser, small):
    browser.open(small, width=1600)
    left, right = browser.each(".beside > div", "e.getBoundingClientRect().toJSON()")
    assert right["left"] >= left["right"] and right["top"] == left["top"]
    assert "from base in percentage points" in browser.text("#differences-table caption")
    rows = browser.each("#differences-table tbody th")
    assert rows == ["vanilla", "gift", "lift-h2", "lift-h3"]
    assert re.search(r"[+\u2212]\d+\.\d\s*p [=<] 0\.\d{3}", browser.text("#differences-table td"))
    browser.choose("#metric", "pass@1: one of 1 right")
    assert browser.text("#differences-table caption").startswith("pass@1, difference")
    browser.open(small, width=390)
    left, right = browser.each(".beside > div", "e.getBoundingClientRect().toJSON()")
    assert right["top"] >= left["bottom"]
