"""The numbers in what is printed and written, read back: {(row, task, metric): Shown}."""

import csv
import io
import json
import re
from typing import NamedTuple

RANGE = re.compile(r"(seeds )?(\d+\.\d)(?:–|--)(\d+\.\d)")


class Shown(NamedTuple):
    """A number with its interval over problems and, with several seeds, that over seeds."""

    value: object
    low: object
    high: object
    seeds_low: object = None
    seeds_high: object = None

    def rounded(self):
        """As tables print it: percent with one digit."""
        return Shown(*(None if part is None else f"{100 * part:.1f}" for part in self))


def of_values(text):
    """What comes before the tables of differences and of speed."""
    return re.split(r"Difference from|^\W*Speed$", text, flags=re.MULTILINE)[0]


def of_texts(*texts):
    """The number in a cell of a table: the value, then its intervals."""
    ranges = {bool(over): ends for text in texts for over, *ends in RANGE.findall(text)}
    return Shown(re.match(r"\d+\.\d", texts[0])[0], *ranges[False], *ranges.get(True, (None, None)))


def of_terminal(text):
    """Of the tables of values: what stands below a head ends where it ends."""
    cells = {}
    text = of_values(text)
    for table in re.split(r"^(?=.*, with 95 % intervals)", text, flags=re.M)[1:]:
        head, body = re.split(r"^─+\n", table, maxsplit=1, flags=re.M)
        columns, section, row = {}, "", ""
        for line in head.splitlines()[1:]:
            for word in re.finditer(r"k = \d+|\S+", line):
                columns[word.end()] = [*columns.get(word.end(), []), word[0]]
        for line in body.splitlines():
            if title := re.fullmatch(r"(\S+): .* problems?", line):
                section = title[1]
            elif re.match(r"\S+ +\d+\.\d|  +\S", line):
                row = line.split()[0] if line[0] != " " else row
                for number in re.finditer(r"(seeds )?\d+\.\d\S*", line):
                    key = (row, *column_of(" ".join(columns[number.end()]), section))
                    cells.setdefault(key, []).append(number[0])
    return {key: of_texts(*texts) for key, texts in cells.items()}


def column_of(head, section):
    """(task, metric) of "gsm8k acc", or of "k = 4" in the section of a task."""
    task, metric = (section, f"pass@{head[4:]}") if head.startswith("k = ") else head.split()
    return f"lift_{task}", metric


def of_lines(lines, separator):
    """Of the cells of tables on one line each."""
    cells, section, heads = {}, "", []
    for line in lines:
        first, *others = (text.strip() for text in line.split(separator))
        if first == "method":
            heads = others
        elif any(re.match(r"\d+\.\d", text) for text in others):
            for head, text in zip(heads, others, strict=True):
                if text:
                    cells[(first, *column_of(head, section))] = of_texts(text)
        elif title := re.match(r"\W*([a-z_0-9]+): .* problems?", first):
            section = title[1]
    return cells


def of_markdown(text):
    """Of the pipe tables of values, up to those of differences."""
    text = of_values(text).replace("\\", "")
    rows = (line[2:].removesuffix(" |") for line in text.splitlines() if line.startswith("| "))
    return of_lines(rows, " |")


def of_latex(text):
    """Of the tables of values, whose heads have the task over its metrics."""
    text = text.split("Difference from")[0].replace(r"\_", "_").replace(r"{\scriptsize", "")
    text = re.sub(r"\\multicolumn\{\d+\}\{l\}\{\\emph", "", text)
    text = re.sub(r"\\textbf\{([\d.]+)\}", r"\1", text)
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    whole, tasks = [], []
    for line in lines:
        if spans := re.findall(r"\\multicolumn\{(\d+)\}\{c\}\{(\w+)\}", line):
            tasks = [task for n, task in spans for _ in range(int(n))]
            continue
        first, *others = (part.strip() for part in line.split("&"))
        if first == "method" and tasks:
            line = "&".join(
                [first, *(f"{task} {metric}" for task, metric in zip(tasks, others, strict=True))]
            )
            tasks = []
        whole.append(line)
    return of_lines(whole, "&")


# ---------------------------------------------------------------- numbers


def of_json(text):
    """Of a comparison as JSON."""
    cells = {}
    for cell in json.loads(text)["cells"]:
        over, seeds = cell["interval"], cell["over_seeds"] or {}
        key = cell["row"], cell["task"], cell["metric"]
        cells[key] = Shown(cell["value"], over["low"], over["high"], seeds.get("low"), seeds.get("high"))
    return cells


def of_csv(text):
    """Of a comparison as CSV."""
    cells = {}
    for line in csv.DictReader(io.StringIO(text)):
        if not line["baseline"] and line["statistic"] in Shown._fields:
            key = line["row"], line["task"], line["metric"]
            cells.setdefault(key, {})[line["statistic"]] = float(line["value"])
    return {key: Shown(**parts) for key, parts in cells.items()}


def of_page(data):
    """Of the data of the page: its table, and its curves of pass@k."""
    table, curves = {}, {}
    for task, metrics in data["summary"].items():
        for metric, found in metrics.items():
            for row, cell in found["rows"].items():
                table[row, task, metric] = Shown(*(cell[name] for name in Shown._fields))
    for curve in data["passk"]:
        for row, found in curve["rows"].items():
            for k, *point in zip(*(found[name] for name in ("k", "value", "low", "high")), strict=True):
                curves[row, curve["task"], f"pass@{k}"] = Shown(*point)
    return table, curves
