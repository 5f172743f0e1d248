"""The report in headless Chromium: widths, themes, keyboard, paper, and runs that are out of the ordinary."""

import base64
import json
import re

import pytest
from support import chromium
from support.eval_files import write_log
from support.report_runs import make_trace, sample_line, write_evaluation

from lift_harness.report import write_report

COMMAND = chromium.find()
pytestmark = pytest.mark.skipif(COMMAND is None, reason=chromium.ABSENT)


# ------------------------------------------------------------ widths, themes, keyboard, paper

OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(browser, small, width):
    browser.open(small, width=width, height=700)
    assert browser.js("document.documentElement.clientWidth") == width
    assert browser.js(WIDER) == 0
    browser.js(OPEN_ALL)
    browser.click("#only-replay")
    browser.settle()
    assert browser.js(WIDER) == 0 and browser.complaints() == []
    heights = browser.each("button, select", "e.offsetHeight")
    assert all(height == 0 or height >= 24 for height in heights)  # targets for fingers; 0: not shown


CONTRAST = """(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const known = new Map([[null, [255, 255, 255, 1]]]);
  const behind = (node) => {
    if (!known.has(node)) {
      known.set(node, over(parse(getComputedStyle(node).backgroundColor), behind(node.parentElement)));
    }
    return known.get(node);
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const texts = [...node.childNodes].filter((one) => one.nodeType === 3);
    const text = texts.map((one) => one.textContent).join('').trim();
    const style = getComputedStyle(node);
    const mask = node.classList.contains('masked') && !node.classList.contains('still');  // a placeholder
    if (!text || mask || node.disabled || !node.getClientRects().length) continue;
    if (['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    const ink = parse(node.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const value = ratio(over(ink, behind(node)), behind(node));
    if (value < 4.5) found.push([node.tagName, String(node.className), text.slice(0, 20), value.toFixed(2)]);
  }
  for (const mark of document.querySelectorAll('.series:not(.thin) .line, .whisker, .now')) {
    const stroke = getComputedStyle(mark).stroke;
    if (ratio(parse(stroke), behind(document.body)) < 3) found.push(['mark', stroke]);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(browser, small, dark):
    """Text 4.5 to 1, marks of the plots 3 to 1 (WCAG AA)."""
    browser.open(small, dark=dark)
    browser.js(OPEN_ALL)
    browser.click("#only-replay")
    browser.settle()
    assert browser.js("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    back = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) < 120) == dark
    assert browser.js(CONTRAST) == []
    browser.js("document.querySelector('.lead').style.color = 'rgb(128, 128, 128)'")
    browser.js("document.querySelector('.line').setAttribute('stroke', 'rgb(128, 128, 128)')")
    browser.js("document.body.style.backgroundColor = 'rgb(110, 110, 110)'")
    faults = [fault[:2] for fault in browser.js(CONTRAST)]
    assert ["P", "lead"] in faults and ["mark", "rgb(128, 128, 128)"] in faults  # it would be noticed


def test_the_shades_of_confidence_differ_in_lightness(opened_small):
    """So they are told apart without colour, in both themes."""
    opened_small.click("#only-replay")
    for theme in ("light", "dark"):
        opened_small.js(f"window.reportTheme.set('{theme}')")
        colours = opened_small.each(
            ".ramp .token:not(.masked):not(.fresh)", "getComputedStyle(e).backgroundColor"
        )
        light = []
        for colour in colours:
            r, g, b = ((int(v) / 255) ** 2.2 for v in re.findall(r"\d+", colour))
            light.append((0.2126 * r + 0.7152 * g + 0.0722 * b) ** (1 / 3))  # about as the eye has it
        assert len(light) == 5
        steps = [b - a for a, b in zip(light, light[1:], strict=False)]
        assert all(step > 0.04 for step in steps) or all(step < -0.04 for step in steps), (theme, light)
    opened_small.js("window.reportTheme.set('auto')")


def test_the_theme_button_overrides_the_system_and_is_remembered(browser, small):
    browser.open(small, dark=True)
    theme = "document.documentElement.dataset.theme"
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: auto", "dark")
    browser.click("#theme")
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: light", "light")
    browser.open(small, dark=True)
    assert browser.js(theme) == "light"
    browser.click("#theme")
    browser.dark(False)
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: dark", "dark")
    browser.click("#theme")
    assert (browser.text("#theme"), browser.js(theme)) == ("Theme: auto", "light")


def test_everything_that_can_be_used_has_a_name_and_can_be_reached(opened_small):
    label = "(e.labels && e.labels[0] && e.labels[0].innerText)"
    name = f"(e.innerText || e.textContent || e.ariaLabel || {label} || '')"
    names = opened_small.each("button, select, input, a, summary", f"{name}.trim()")
    assert len(names) > 50 and all(names)
    plots = opened_small.each("svg:not([aria-hidden])", "e.getAttribute('role') === 'img' && e.ariaLabel")
    assert len(plots) > 15 and all(plots)
    assert set(opened_small.each("[tabindex]", "e.tabIndex")) <= {0, -1}
    opened_small.js("document.body.focus()")
    opened_small.key("Tab", 9)
    assert opened_small.js("document.activeElement.className") == "skip"  # to the results
    names = []
    for _ in range(14):
        opened_small.key("Tab", 9)
        names.append(opened_small.js("document.activeElement.id || document.activeElement.tagName"))
    assert names[0] == "theme" and "metric" in names
    levels = opened_small.each("h1, h2, h3, h4, h5", "Number(e.tagName[1])")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_it_prints(opened_small):
    opened_small.send("Emulation.setEmulatedMedia", media="print")
    head = opened_small.text(".results thead")
    assert "lift_gsm8k" in head and "lift_math500" in head
    assert (
        opened_small.text("#breakdown .controls").split()[0] == "base"
    )  # the key, without the choice of task
    assert set(opened_small.each("nav, #play, .filters", "getComputedStyle(e).display")) == {"none"}
    pdf = base64.b64decode(opened_small.send("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and 4 <= pdf.count(b"/Type /Page\n") <= 40


# ------------------------------------------------------------ odd runs


def test_hostile_texts_do_nothing(browser, tmp_path):
    tags = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    text = f"{tags}\ud800\x00\u202eabc <answer><b>1</b></answer>"
    line = dict(question=text, target=text, doc={"difficulty": text})
    write_evaluation(tmp_path / text.replace("/", "")[:20], "task", [sample_line(0, ["ok"], [1.0])])
    for row in ("base", "m"):
        write_evaluation(
            tmp_path / row,
            "task",
            [sample_line(0, [text], [1.0], **line), sample_line(1, ["x" + text], [0.0])],
        )
    trace = make_trace("task", 0, text, "seed")
    write_log(tmp_path / "m" / "eval" / "traces.jsonl", [{**trace, "tokens": [text] * len(trace["tokens"])}])
    (tmp_path / "recipe.yaml").write_text(json.dumps({"name": text, "description": text}))
    browser.open(write_report(tmp_path))
    browser.type("#search", "<img")
    browser.click("#differences")
    assert browser.complaints() == [] and browser.requests() == []
    assert browser.js("document.querySelectorAll('img').length") == 0
    shown_text = browser.text("#detail pre")
    assert tags in shown_text
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
            write_log(folder / "train" / "log.jsonl", [{"step": n, "loss": 1 / n} for n in range(1, 9)])
    browser.open(write_report(tmp_path), width=320, height=700)
    assert browser.complaints() == [] and browser.js(WIDER) == 0
    assert "of 40 methods right" in browser.text("#items .chips")
    lines = "e.getAttribute('stroke') + e.getAttribute('stroke-dasharray')"
    styles = browser.each("#training .key line", lines)
    assert len(styles) == len(set(styles)) == 20
