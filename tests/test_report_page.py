"""The report in headless Chromium: what a reader sees, clicks and types."""

import base64
import json

import chromium
import pytest
from report_runs import METHODS, make_trace, sample_line, write_evaluation, write_large_run, write_lines

from lift_harness.report import write_report

COMMAND = chromium.find()
pytestmark = pytest.mark.skipif(
    COMMAND is None,
    reason="no Chromium: install the Debian package chromium-headless-shell (or chromium), or name one with "
    "LIFT_HARNESS_CHROMIUM",
)
ROWS = ("base", *METHODS)
PROBLEMS = 2000


@pytest.fixture(scope="module")
def browser():
    found = chromium.Chromium(COMMAND)
    yield found
    found.close()


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


def test_results_sort_and_say_what_is_best(opened):
    def order():
        return opened.js("[...document.querySelectorAll('.results tbody th')].map((th) => th.innerText)")

    values = "[...document.querySelectorAll('.results tbody tr td:nth-child(2) .value')].map((v) => Number(v.innerText))"
    assert order() == list(ROWS)
    opened.click('.results button[data-column="lift_gsm8k"]')
    found = opened.js(values)
    assert found == sorted(found, reverse=True) and order()[0] == "lift-h3"
    assert opened.js("document.querySelector('.results th:nth-child(2)').ariaSort") == "descending"
    assert opened.js("document.activeElement.dataset.column") == "lift_gsm8k"  # a keyboard user stays there
    opened.key("Enter", 13, "\r")
    assert opened.js(values) == sorted(found)
    assert "Here no row is, on any task" in opened.text("#best-note")
    opened.choose("#metric", "pass@1: one of 1 right")
    assert opened.text(".results caption").startswith("pass@1, percent")


def test_a_row_is_hidden_in_every_plot_by_its_key(opened):
    lines = "document.querySelectorAll('#passk .line').length + document.querySelectorAll('#training figure:first-child .line').length"
    before = opened.js(lines)
    opened.click('#passk .key[data-row="gift"]')
    assert opened.js(lines) == before - 3  # two tasks, one loss
    assert opened.js("document.querySelector('#training .key[data-row=gift]').ariaPressed") == "false"


def test_a_pointer_shows_the_numbers_under_it_and_a_table_shows_all(opened):
    opened.js("document.querySelector('#passk .plot').id = 'first-plot'")
    opened.js(
        "document.querySelector('#passk .line').closest('svg').querySelectorAll('.series')[4].lastChild.id = 'last-mark'"
    )
    opened.move("#last-mark")
    tip = opened.text("#tip").splitlines()
    assert tip[0] == "lift-h3" and tip[1].startswith("pass@k ") and tip[2].startswith("95 % interval")
    assert tip[3] == "k, answers a problem: 4"
    opened.click("#passk .numbers summary")
    cells = opened.js(
        "[...document.querySelector('#passk .numbers tbody').lastChild.children].map((td) => td.innerText)"
    )
    assert cells[:2] == ["lift-h3", "4"] and f"pass@k {cells[2]} %" == tip[1]


# ------------------------------------------------------------ the sample browser


def test_filters_find_what_the_logs_say(opened, verdicts):
    def chips():
        return opened.js(
            "[...document.querySelectorAll('#items button')].map((b) => [b.querySelector('.name').innerText, b.querySelector('.chips').innerText])"
        )

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
    sides = opened.js(
        "[...document.querySelectorAll('.side-of')].map((s) => [s.dataset.arm, s.querySelector('.verdicts').innerText, s.querySelector('pre').innerText])"
    )
    assert [side[0] for side in sides] == ["gift", "vanilla"]
    for row, verdict, text in sides:
        line = json.loads(
            next((run / row / "eval" / "one").glob("samples_lift_gsm8k*")).read_text().splitlines()[3]
        )
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


def test_replay_plays_and_pauses(opened):
    opened.click("#only-replay")
    opened.click("#play")  # at the end: from the beginning
    opened.wait("Number(document.querySelector('#step').value) >= 3")
    assert opened.text("#play") == "Pause"
    opened.click("#play")
    here = opened.js("document.querySelector('#step').value")
    opened.pump(0.6)
    assert opened.js("document.querySelector('#step').value") == here != "32"
    opened.js("document.querySelector('#canvas').focus()")
    opened.key(" ", 32, " ")
    opened.wait(
        "document.querySelector('#step').value === '32' && document.querySelector('#play').textContent === 'Play'"
    )


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


# ------------------------------------------------------------ widths, themes, keyboard, paper

OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(browser, page, width):
    browser.open(page, width=width, height=700)
    assert browser.js("document.documentElement.clientWidth") == width
    assert browser.js(WIDER) == 0
    browser.js(OPEN_ALL)
    browser.click("#only-replay")
    browser.settle()
    assert browser.js(WIDER) == 0 and browser.complaints() == []
    small = browser.js(
        "[...document.querySelectorAll('button, select')].filter((e) => e.offsetHeight && e.offsetHeight < 24).length"
    )
    assert small == 0  # targets for fingers


CONTRAST = """(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = (node) => node ? over(parse(getComputedStyle(node).backgroundColor), node.parentElement ? behind(node.parentElement) : [255, 255, 255, 1]) : [255, 255, 255, 1];
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const texts = [...node.childNodes].filter((one) => one.nodeType === 3 && one.textContent.trim());
    const style = getComputedStyle(node);
    if (!texts.length || !node.getClientRects().length || ['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    if (node.classList.contains('masked') && !node.classList.contains('still')) continue;  // a placeholder, not a text
    if (node.disabled) continue;
    const ink = parse(node.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const value = ratio(over(ink, behind(node)), behind(node));
    if (value < 4.5) found.push([node.tagName, node.className.baseVal ?? node.className, texts[0].textContent.trim().slice(0, 20), value.toFixed(2)]);
  }
  const page = behind(document.body);
  for (const mark of document.querySelectorAll('.series .line, .whisker, .ring, .now')) {
    const stroke = parse(getComputedStyle(mark).stroke);
    if (ratio(stroke, page) < 3) found.push(['mark', getComputedStyle(mark).stroke, ratio(stroke, page).toFixed(2)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser, page, dark):
    """Text 4.5 to 1, marks of the plots 3 to 1 (WCAG AA)."""
    browser.open(page, dark=dark)
    browser.js(OPEN_ALL)
    browser.click("#only-replay")
    browser.settle()
    assert browser.js("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    back = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) < 120) == dark
    assert browser.js(CONTRAST) == []


def test_the_shades_of_confidence_differ_in_lightness(opened):
    """So they are told apart without colour, in both themes."""
    for theme in ("light", "dark"):
        opened.js(f"window.reportTheme.set('{theme}')")
        light = opened.js(
            "[0, 1, 2, 3, 4].map((i) => { const e = document.createElement('i'); e.className = `q${i}`; document.body.append(e);"
            "const [r, g, b] = getComputedStyle(e).backgroundColor.match(/\\d+/g).map((v) => (v / 255) ** 2.2); e.remove();"
            "return Math.cbrt(0.2126 * r + 0.7152 * g + 0.0722 * b); })"
        )
        steps = [b - a for a, b in zip(light, light[1:], strict=False)]
        assert all(step > 0.04 for step in steps) or all(step < -0.04 for step in steps), (theme, light)
    opened.js("window.reportTheme.set('auto')")


def test_the_theme_button_overrides_the_system_and_is_remembered(browser, page):
    browser.open(page, dark=True)
    theme = "document.documentElement.dataset.theme"
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: auto", "dark")
    browser.click("#theme")
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: light", "light")
    browser.open(page, dark=True)
    assert browser.js(theme) == "light"
    browser.click("#theme")
    browser.dark(False)
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: dark", "dark")
    browser.click("#theme")
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: auto", "light")


def test_everything_that_can_be_used_has_a_name_and_can_be_reached(opened):
    unnamed = opened.js(
        "[...document.querySelectorAll('button, select, input, a, summary')].filter((e) => !(e.innerText || e.textContent).trim()"
        " && !e.ariaLabel && !(e.labels && e.labels.length && e.labels[0].innerText.trim())).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    assert opened.js(
        "[...document.querySelectorAll('svg')].every((s) => s.ariaHidden === 'true' || (s.getAttribute('role') === 'img' && s.ariaLabel))"
    )
    assert opened.js(
        "document.querySelectorAll('[tabindex]').length && ![...document.querySelectorAll('[tabindex]')].some((e) => e.tabIndex > 0)"
    )
    opened.js("document.body.focus()")
    opened.key("Tab", 9)
    assert opened.js("document.activeElement.className") == "skip"  # to the results
    names = []
    for _ in range(14):
        opened.key("Tab", 9)
        names.append(opened.js("document.activeElement.id || document.activeElement.tagName"))
    assert names[0] == "theme" and "metric" in names
    levels = opened.js(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_it_prints(opened):
    pdf = base64.b64decode(opened.send("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and 4 <= pdf.count(b"/Type /Page\n") <= 40


# ------------------------------------------------------------ odd runs


def test_hostile_texts_do_nothing(browser, tmp_path):
    text = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\ud800\x00\u202eabc <answer><b>1</b></answer>"
    line = dict(question=text, target=text, doc={"difficulty": text})
    write_evaluation(tmp_path / text.replace("/", "")[:20], "task", [sample_line(0, ["ok"], [1.0])])
    for row in ("base", "m"):
        write_evaluation(
            tmp_path / row,
            "task",
            [sample_line(0, [text], [1.0], **line), sample_line(1, ["x" + text], [0.0])],
        )
    trace = make_trace("task", 0, text, "seed")
    write_lines(
        tmp_path / "m" / "eval" / "traces.jsonl", [{**trace, "tokens": [text] * len(trace["tokens"])}]
    )
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": text, "description": text}))
    browser.open(write_report(tmp_path))
    browser.type("#search", "<img")
    browser.click("#differences")
    assert browser.complaints() == [] and browser.requests() == []
    assert browser.js("document.querySelectorAll('img').length") == 0
    shown_text = browser.text("#detail pre")
    assert "</script><script>alert(1)</script><img src=x onerror=alert(2)>" in shown_text
    assert "\u27e8U+D800\u27e9\u2400\u27e8U+202E\u27e9abc" in shown_text


@pytest.mark.parametrize(
    "files",
    [
        {"recipe.yaml": "name: started\n"},
        {"results.json": '{"scores": {"base": {"t": {"acc": {"value": 1.5}}}}}'},
    ],
)
def test_a_run_with_next_to_nothing(browser, tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    browser.open(write_report(tmp_path), width=320, height=600)
    assert browser.complaints() == [] and browser.js(WIDER) == 0
    assert "is not there" in browser.text("#notes")


def test_many_rows_and_seeds(browser, tmp_path):
    """Twenty rows of two seeds: colours repeat with other dashes, verdicts are counted."""
    for m in range(20):
        for seed in range(2):
            one = [
                sample_line(i, ["x" * (i + 1)], [float((i * m + seed) % 3 == 0)], question=f"Q{i}")
                for i in range(30)
            ]
            folder = tmp_path / f"method-with-a-long-name-{m}" / f"seed-{seed}"
            write_evaluation(folder, "task", one)
            right = sum(line["acc"] for line in one) / 30
            (folder / "eval.json").write_text(
                json.dumps({"result": {"task": {"acc": {"value": right, "stderr": 0.05}}}, "seconds": m + 1})
            )
            write_lines(folder / "train" / "log.jsonl", [{"step": n, "loss": 1 / n} for n in range(1, 9)])
    browser.open(write_report(tmp_path), width=320, height=700)
    assert browser.complaints() == [] and browser.js(WIDER) == 0
    assert "of 40 methods right" in browser.text("#items .chips")
    styles = browser.js(
        "[...document.querySelectorAll('#training .key line')].map((l) => l.getAttribute('stroke') + l.getAttribute('stroke-dasharray'))"
    )
    assert len(styles) == len(set(styles)) == 20
