"""What is shown of a model with blocks: borders where the model has them, edits, and settled text only."""

import io
import json
import re

import pytest
from rich.console import Console
from support.block_models import BLOCK, load_blocks, write_blocks

from lift_harness.decoding import DecodingConfig, Generation
from lift_harness.interactive import canvas
from lift_harness.interactive.chat import Stream
from lift_harness.interactive.generate import print_answer
from lift_harness.interactive.session import Session

EDITS = dict(schedule="llada21", threshold=0.2, editing_threshold=0.1, max_post_steps=2, gen_length=20)


@pytest.fixture(scope="module")
def session(tmp_path_factory, tokenizer):
    folder = write_blocks(tmp_path_factory.mktemp("blocks"), "sdar", tokenizer)
    return Session("blocks", load_blocks(folder), tokenizer, EDITS | dict(early_stop=False))


def printed(session, prompt, **options):
    console = Console(file=io.StringIO(), width=4000)
    print_answer(session, prompt, raw=True, console=console, **options)
    return console.file.getvalue()


@pytest.mark.parametrize("grid, start, borders", [("sequence", 5, [3, 11, 19]), ("answer", 5, [8, 16])])
def test_borders_stand_where_the_model_has_them(session, grid, start, borders):
    config = DecodingConfig(gen_length=20, block_length=BLOCK, grid=grid, schedule="llada2")
    masked = Generation([session.tokenizer.mask_token_id] * 20, [-1] * 20, [0.0] * 20, 0)
    drawn = canvas.draw(session.tokenizer, masked, config, frozenset(), ascii_only=True, start=start)
    parts = drawn.plain.split("|")
    assert [sum(map(len, parts[: n + 1])) for n in range(len(parts) - 1)] == borders
    assert f"block 3/{len(borders) + 1}" in canvas.status(masked, config, [borders[1]], start)


def test_edits_are_told_as_they_happen_and_in_the_json(session):
    told = json.loads(printed(session, "1+1", as_json=True))
    assert told["settings"]["schedule"] == "llada21" and told["replaced"]
    assert all(old != told["ids"][i] or step < told["step"][i] for i, old, step, _ in told["replaced"])
    lines = printed(session, "1+1", show=True).splitlines()
    edits = sum(len(re.findall("' -> '|\" -> \"|' -> \"|\" -> '", line)) for line in lines)
    assert edits == len(told["replaced"])
    assert len([line for line in lines if line.startswith("pass ")]) == told["forward_passes"]


def test_a_chat_prints_only_what_can_no_longer_be_edited(session):
    prompt, written = session.raw_prompt("1+1"), []
    stream = Stream(session, written.append, len(prompt))
    seen = []

    def show(out):
        stream.show(out)
        seen.append("".join(written))

    answer = session.answer(prompt, show)
    stream.finish(answer.text)
    assert "".join(written) == f"{canvas.visible(answer.text)}\n"
    whole = canvas.visible(session.text(answer.generation.ids))
    assert all(whole.startswith(text) for text in seen) and any(seen)
