"""The README's pictures come from what the project computes."""

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """name -> the picture, drawn again."""
    spec = importlib.util.spec_from_file_location("draw", IMAGES / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    model, tokenizer = draw.load_model("lift-tiny")
    return {
        "lift.svg": draw.lift_picture(model, tokenizer),
        "denoising.svg": draw.denoising_picture(model, tokenizer),
    }


def words(svg):
    """What is written in a picture."""
    return [text.text or "".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["lift.svg", "denoising.svg"])
def test_the_picture_in_the_readme_says_what_is_computed(drawn, name):
    assert words((IMAGES / name).read_text(encoding="utf-8")) == words(drawn[name])


def test_as_many_tokens_are_learnt_as_the_paper_says(drawn):
    """K = floor(t L) of those that are masked at t + rho."""
    rows = re.split(r'class="title" [^>]*>t = ', drawn["lift.svg"])[1:]
    for row in rows:
        t, length = float(row.split("<")[0]), row.count('class="token"')
        learnt, first = row.count('rect class="learnt"'), row.count('rect class="first"')
        assert learnt == min(int(t * length), learnt + first)


def test_every_token_of_the_animation_appears(drawn):
    times = [float(found) for found in re.findall(r'keyTimes="0;([\d.]+);1"', drawn["denoising.svg"])]
    assert len(times) == 40 and all(0 < time < 1 for time in times) and len(set(times)) == 20
