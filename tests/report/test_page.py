"""The report in headless Chromium: what a reader sees, clicks and types."""

import json
from pathlib import Path

import pytest
from support import chromium
from support.report_runs import METHODS, write_large_run

import lift_harness.report
from lift_harness.report import write_report

COMMAND = chromium.find()
pytestmark = pytest.mark.skipif(COMMAND is None, reason=chromium.ABSENT)
ROWS = ("base", *METHODS)
PROBLEMS = 2000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_large_run(tmp_path_factory.mktemp("report") / "large run", PROBLEMS)


@pytest.fixture(scope="module")
def page(run):
    return write_report(run)


@pytest.fixture(scope="module")
def verdicts(run):
    """(task, doc id) -> {row: verdict}, read from the logs and not from the page."""
    found = {}
    for row in ROWS:
        for log in sorted((run / row / "eval" / "one").glob("samples_*.jsonl")):
            for line in map(json.loads, log.read_text().splitlines()):
                found.setdefault((log.name[8:-33], line["doc_id"]), {})[row] = line["acc"] == 1
    assert len(found) == PROBLEMS
    return found


@pytest.fixture
def opened(browser, page):
    """The large page at desktop width; nothing may have complained by the end of a test."""
    browser.open(page)
    yield browser
    assert browser.complaints() == [] and browser.requests() == []


def shown(browser):
    """How many problems are found, by the page's words."""
    words = browser.text("#found").split()
    return 0 if words[0] == "No" else int(words[0].replace(",", ""))


# ------------------------------------------------------------ the whole page


def test_complaints_and_requests_would_be_noticed(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='none.png'><script>console.error('no'); console.warn('hm'); x.y</script>")
    browser.open(bad)
    assert len(browser.complaints()) >= 3 and browser.requests()[0].endswith("none.png")


def test_the_page_is_small_and_complete(opened, page):
    assert page.stat().st_size < 15_000_000
    sections = opened.js("[...document.querySelectorAll('section')].map((one) => one.id)")
    assert sections == ["results", "passk", "breakdown", "cost", "training", "frequency", "samples", "notes"]
    plots = opened.js("document.querySelectorAll('.plot').length")
    assert plots == opened.js("document.querySelectorAll('.plot > svg').length") >= 18  # all are drawn
    assert opened.js("[...document.querySelectorAll('svg')].every((s) => !s.outerHTML.includes('NaN'))")
    assert opened.text("h1") == "llada-8b-s1k"
    assert "1 x NVIDIA H100 80GB HBM3" in opened.text("header")


def test_results_sort_and_say_what_is_best(opened_small):
    def order():
        return opened_small.each("#results-table tbody th")

    def values():
        return opened_small.each("#results-table tbody td:nth-child(2) .value", "Number(e.innerText)")

    assert order() == list(ROWS)
    opened_small.click('#results-table button[data-column="lift_gsm8k"]')
    found = values()
    assert found == sorted(found, reverse=True) and order()[0] == "lift-h3"
    assert (
        opened_small.js("document.querySelector('#results-table th:nth-child(2)').ariaSort") == "descending"
    )
    # A keyboard user stays there.
    assert opened_small.js("document.activeElement.dataset.column") == "lift_gsm8k"
    opened_small.key("Enter", 13, "\r")
    assert values() == sorted(found)
    assert "Here no row is, on any task" in opened_small.text("#best-note")
    opened_small.choose("#metric", "pass@1: one of 1 right")
    assert opened_small.text("#results-table caption").startswith("pass@1, percent")


def test_percents_are_rounded_as_in_the_tables(opened_small):
    """All shares of up to 128 problems, ties among them (10 of 32 is 31.25 %)."""
    script = (Path(lift_harness.report.__file__).parent / "template" / "dom.js").read_text(encoding="utf-8")
    functions = script[script.index("function percent") : script.index("// 1234567 as")]
    shares = [i / n for n in (7, 32, 64, 128) for i in range(n + 1)]
    shares += [-share for share in shares if share]
    for digits in (0, 1, 2):
        asked = f"{json.dumps(shares)}.map((share) => percent(share, {digits}))"
        found = opened_small.js(f"(() => {{{functions}; return {asked}}})()")
        assert found == [f"{100 * share:.{digits}f}" for share in shares]


def test_a_row_is_hidden_in_every_plot_by_its_key(opened_small):
    def lines():
        return len(opened_small.each("#passk .line, #training figure:first-child .line", "1"))

    before = lines()
    opened_small.click('#passk .key[data-row="gift"]')
    assert lines() == before - 3  # two tasks, one loss
    assert opened_small.js("document.querySelector('#training .key[data-row=gift]').ariaPressed") == "false"


def test_a_pointer_shows_the_numbers_under_it_and_a_table_shows_all(opened):
    opened.js("document.querySelectorAll('#passk svg .series')[4].lastChild.id = 'last-mark'")
    opened.move("#last-mark")
    tip = opened.text("#tip").splitlines()
    assert tip[0] == "lift-h3" and tip[1].startswith("pass@k ") and tip[2].startswith("95 % interval")
    assert tip[3] == "k, answers a problem: 4"
    opened.click("#passk .numbers summary")
    cells = opened.each("#passk figure:first-child .numbers tbody tr:last-child > *")
    assert cells[:2] == ["lift-h3", "4"] and f"pass@k {cells[2]} %" == tip[1]


# ------------------------------------------------------------ the sample browser


def test_filters_find_what_the_logs_say(opened, verdicts):
    def chips():
        return list(zip(opened.each("#items .name"), opened.each("#items .chips"), strict=True))

    assert shown(opened) == PROBLEMS
    opened.choose("#filter-label", "one answer (protocol)")
    opened.choose("#filter-task", "lift_math500")
    math = {key: found for key, found in verdicts.items() if key[0] == "lift_math500"}
    assert shown(opened) == len(math)
    opened.choose("#filter-verdict", "differs between methods")
    assert shown(opened) == sum(len(set(found.values())) == 2 for found in math.values()) > 0
    opened.choose("#filter-verdict", "wrong")
    assert shown(opened) == sum(not any(found.values()) for found in math.values()) > 0
    opened.choose("#filter-method", "lift-h2")
    opened.choose("#filter-verdict", "right")
    assert shown(opened) == sum(found["lift-h2"] for found in math.values())
    assert len(chips()) == 20 and all("\u2713 lift-h2" in text for _, text in chips())
    for name, text in chips():
        doc = int(name.split("#")[1].split()[0])
        for row, verdict in verdicts["lift_math500", doc].items():
            mark = "\u2713" if verdict else "\u2717"
            assert f"{mark} {row}" in text.replace("\n", " ")


def test_search_and_pages(opened, run):
    log = next((run / "base" / "eval" / "one").glob("samples_lift_gsm8k*"))
    opened.type("#search", "Elif HAS 5 boxes with 17")
    texts = [line.lower() for line in log.read_text().splitlines()]
    assert shown(opened) >= sum("elif has 5 boxes with 17" in line for line in texts) > 0
    assert (
        opened.js("[...document.querySelectorAll('#detail mark')].map((m) => m.innerText.toLowerCase())")[0]
        == "elif has 5 boxes with 17"
    )
    opened.js("document.querySelector('#search').select()")
    opened.send("Input.insertText", text="no such words")
    opened.settle()
    assert shown(opened) == 0 and opened.text("#found") == "No problem is like that."
    opened.js("document.querySelector('#search').select()")
    opened.key("Delete", 46)
    assert shown(opened) == PROBLEMS
    opened.click(".pages button:last-child")
    assert opened.text(".pages span") == "21\u201340 of 2,000"
    assert opened.text("#items .name").startswith("lift_gsm8k #20")


def test_answers_side_by_side(opened, run):
    opened.click('#items button[data-item="3"]')
    assert opened.text("#detail h3") == "lift_gsm8k #3"
    opened.choose("#side-left", "gift")
    opened.choose("#side-right", "vanilla")
    side = "[e.dataset.arm, e.querySelector('.verdicts').innerText, e.querySelector('pre').innerText]"
    sides = opened.each(".side-of", side)
    assert [side[0] for side in sides] == ["gift", "vanilla"]
    for row, verdict, text in sides:
        log = next((run / row / "eval" / "one").glob("samples_lift_gsm8k*"))
        line = json.loads(log.read_text().splitlines()[3])
        assert ("right" if line["acc"] else "wrong") in verdict
        said = line["resps"][0][0].split("<|eot_id|>")[0].strip()
        assert text.startswith(said)
    opened.click(".many summary")
    assert opened.js("document.querySelectorAll('.many[open] pre').length") == 4
    opened.click("#differences")
    assert opened.js("document.querySelectorAll('.diff').length") > 0
    opened.click(".next")
    assert opened.text("#detail h3") == "lift_gsm8k #4"
    assert opened.js("document.querySelector('.side-of').dataset.arm") == "gift"  # stays chosen


def test_the_list_is_walked_with_arrow_keys(opened):
    opened.click('#items button[data-item="18"]')
    for _ in range(3):
        opened.key("ArrowDown", 40)
    assert opened.text("#detail h3") == "lift_gsm8k #21" and opened.text(".pages span").startswith("21")
    assert opened.js("document.activeElement.dataset.item") == "21"


def test_replay_follows_the_trace(opened, run):
    opened.click("#only-replay")
    assert shown(opened) == 24
    trace = json.loads((run / "lift-h3" / "eval" / "traces.jsonl").read_text().splitlines()[0])
    opened.choose("#replay-trace", "lift-h3, one answer")
    states = "[...document.querySelectorAll('#canvas .token')].map((t) => t.dataset.state)"
    last = max(trace["step"]) + 1
    assert f"Step {last} of {last}: 64 of 64 tokens committed" in opened.text("#step-said")
    opened.js("document.querySelector('#canvas').focus()")
    opened.key("Home", 36)
    assert set(opened.js(states)) == {"masked"}
    for _ in range(5):
        opened.key("ArrowRight", 39)
    expected = ["fresh" if step == 4 else "done" if step < 4 else "masked" for step in trace["step"]]
    assert opened.js(states) == expected
    assert "Step 5 of 32: 10 of 64 tokens committed, 2 in this step" in opened.text("#step-said")
    classes = opened.js("[...document.querySelectorAll('#canvas .token')].map((t) => t.className)")
    for name, step, sure in zip(classes, trace["step"], trace["confidence"], strict=True):
        assert (f"q{min(4, int(5 * sure))}" in name.split()) == (step <= 4)
    fresh = trace["step"].index(4)
    assert opened.js(f"document.querySelectorAll('#canvas .token')[{fresh}].title") == (
        f"position {fresh}, step 5, confidence {trace['confidence'][fresh]:.3f}"
    )
    opened.js("document.querySelector('#step').focus()")
    opened.key("ArrowLeft", 37)
    assert "Step 4 of 32" in opened.text("#step-said")


def test_replay_plays_and_pauses(opened_small):
    opened_small.click("#only-replay")
    opened_small.click("#play")  # at the end: from the beginning
    opened_small.wait("Number(document.querySelector('#step').value) >= 3")
    assert opened_small.text("#play") == "Pause"
    opened_small.click("#play")
    here = opened_small.js("document.querySelector('#step').value")
    opened_small.pump(0.6)
    assert opened_small.js("document.querySelector('#step').value") == here != "32"
    opened_small.js("document.querySelector('#canvas').focus()")
    opened_small.key("End", 35)
    for _ in range(4):
        opened_small.key("ArrowLeft", 37)
    opened_small.key(" ", 32, " ")
    opened_small.wait("document.querySelector('#play').textContent === 'Play'")
    assert opened_small.js("document.querySelector('#step').value") == "32"


def test_two_thousand_problems_stay_responsive(opened):
    """Milliseconds in the page from a change to the new list being laid out; the best of three."""
    measure = """(async () => {
      const field = document.querySelector(%r);
      const times = [];
      for (const value of %s) {
        const start = performance.now();
        field.value = value;
        field.dispatchEvent(new Event(%r, {bubbles: true}));
        document.querySelector('#items').getBoundingClientRect();
        times.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
      }
      return times;
    })()"""
    for field, values, event in (
        ("#search", ["the", "the t", "the total", "the total is"], "input"),
        ("#filter-verdict", ["right", "wrong", "differs", "right"], "change"),
        ("#filter-task", ["lift_math500", "lift_gsm8k", "", "lift_math500"], "change"),
    ):
        times = opened.js(measure % (field, json.dumps(values), event))
        assert min(times) < 200, (field, times)
