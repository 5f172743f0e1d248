"""`python tests/support/presets_page.py` writes docs/presets.md anew: what follows MADE."""

from collections.abc import Iterator
from pathlib import Path

from lift_harness.tasks.catalog import decoding_settings
from lift_harness.tasks.presets import UNCONFIRMED, Preset, PresetTask, preset, preset_names

PAGE = Path(__file__).parents[2] / "docs" / "presets.md"
MADE = "<!-- made by tests/support/presets_page.py -->\n"
SHOWN = ("gen_length", "block_length", "steps", "schedule", "threshold", "temperature", "top_p")
SHOWN += ("remasking", "confidence_from", "suppress_tokens", "cache")


def parts() -> str:
    return "".join(f"\n{part(preset(name))}" for name in preset_names())


def part(found: Preset) -> str:
    rows = "\n".join(row(name, task) for name, task in found.tasks.items())
    sources = "\n".join(f"| {value} | {source(text)} |" for value, text in found.sources.items())
    return (
        f"### {found.name}\n\n{found.title}. Numbers: {found.paper}.\n\n"
        "| task | examples | decoding | answers | metric | published, in percent |\n"
        f"|---|---|---|---|---|---|\n{rows}\n\n| value | source |\n|---|---|\n{sources}\n"
    )


def row(name: str, task: PresetTask) -> str:
    numbers = ", ".join(f"{model} {percent:g}" for model, percent in task.published.items())
    where = f" ({'table ' if task.table[:1].isdigit() else ''}{task.table})" if numbers else ""
    cells = [f"`{name}`", str(task.num_fewshot), ", ".join(settings(name, task)), str(task.samples or 1)]
    return f"| {' | '.join([*cells, f'`{task.metric}`', numbers + where])} |"


def settings(name: str, task: PresetTask) -> Iterator[str]:
    decoding = {**decoding_settings(name), **task.decoding}
    own = str(decoding.get("schedule", "fixed")).startswith(("llada2", "sdar"))
    for key in SHOWN:
        if key in decoding and not (own and key in ("block_length", "steps", "cache")):
            yield f"{key}={decoding[key]}"
    if task.subset is not None:
        yield f"subset={task.subset}"


def source(text: str) -> str:
    return f"**{UNCONFIRMED}**{text.removeprefix(UNCONFIRMED)}" if text.startswith(UNCONFIRMED) else text


def page() -> str:
    return PAGE.read_text().partition(MADE)[0] + MADE + parts()


if __name__ == "__main__":
    PAGE.write_text(page())
