"""What a reply quotes, and where that stands in the answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.training.annotation.quotes import is_everything, place
from lift_harness.training.annotation.rules import Malformed, messages, quotes_of
from lift_harness.training.sources import Record

light = settings(max_examples=300, deadline=None, derandomize=True)


def marked(quotes, text):
    return [text[start:end] for start, end in place(quotes, text).spans]


@pytest.mark.parametrize(
    "quotes, text, spans",
    [
        (["2 + 3", "5"], "2 + 3 is 5, and 5 it is", [(0, 5), (9, 10)]),
        (["5", "5"], "5 and 5 and 5", [(0, 1), (6, 7)]),  # in order
        (["and 5", "2"], "2 and 5", [(0, 1), (2, 7)]),  # out of order, each in one place
        (["2"], "12 is 2", [(6, 7)]),  # not the 2 of 12
        (["x"], "2x + 1", [(1, 2)]),  # nowhere a word of its own
        (["n % 2"], "if  n % 2:", [(4, 9)]),
        ([" 7\n"], "it is 7.", [(6, 7)]),
        (["a = b", "b = c"], "a = b = c", [(0, 9)]),  # overlapping: joined
        (["é"], "caffè é", [(6, 7)]),
        (["日本"], "日本語", [(0, 2)]),
    ],
)
def test_a_quote_is_marked_where_it_stands(quotes, text, spans):
    assert place(quotes, text).spans == spans


def test_what_becomes_of_quotes_without_a_place_is_counted():
    placed = place(["there", "", "  ", "7 = 7", "end", "7"], "7 there 7 the end")
    assert (placed.found, placed.lost, placed.unclear) == (2, 3, 1)
    assert placed.spans == [(2, 7), (14, 17)] and not placed.overlapping
    assert place(["a b", "b c"], "a b c").overlapping
    assert not place(["a", "b"], "ab").overlapping  # touching is not overlapping


def by_hand(quotes, text):
    """The marked characters, letter by letter."""
    flags, at = [False] * len(text), 0
    for quote in (one.strip() for one in quotes):
        starts = [i for i in range(len(text)) if quote and text[i : i + len(quote)] == quote]
        borders = {i for i in range(1, len(text)) if text[i - 1].isalnum() and text[i].isalnum()}
        clean = [i for i in starts if i not in borders and i + len(quote) not in borders]
        starts = clean or starts
        after = [i for i in starts if i >= at]
        if after or len(starts) == 1:
            at = min(after or starts)
            for i in range(len(quote)):
                flags[at + i] = True
            at += len(quote)
    return flags


LETTERS = st.text(alphabet="ab1 +=\n", max_size=14)


@light
@given(text=LETTERS | st.text(max_size=14), data=st.data())
def test_spans_are_places_of_the_quotes(text, data):
    pieces = st.integers(0, len(text)).flatmap(
        lambda start: st.integers(start, len(text)).map(lambda end: text[start:end])
    )
    quotes = data.draw(st.lists(pieces | LETTERS, max_size=5))
    placed = place(quotes, text)
    flags = by_hand(quotes, text)
    assert [any(start <= i < end for start, end in placed.spans) for i in range(len(text))] == flags
    ends = [-1, *(place for span in placed.spans for place in span)]
    assert ends == sorted(set(ends)) and ends[-1] <= len(text)  # in order, none empty, none touching
    assert placed.found + placed.lost + placed.unclear == len(quotes)
    left = [text[i] for i in range(len(text)) if not flags[i]]
    assert is_everything(placed.spans, text) == (not "".join(left).strip())


@light
@given(text=LETTERS)
def test_an_answer_that_is_quoted_word_by_word_is_marked_whole(text):
    assert is_everything(place(text.split(), text).spans, text)


@pytest.mark.parametrize(
    "reply",
    [
        '{"spans": ["a", "b"]}',
        ' ["a", "b"]\n',
        '```json\n{"spans": ["a", "b"]}\n```',
        '```\n["a", "b"]\n```',
        '<think>[1] or {"spans": []}?</think>\n{"spans": ["a", "b"]}',
    ],
)
def test_forms_of_a_reply(reply):
    assert quotes_of(reply) == ["a", "b"]


@pytest.mark.parametrize(
    "reply",
    [
        *("", "Sorry, I cannot.", '{"spans": "a"}', '{"spans": [1]}', '{"marks": ["a"]}', "null", "7"),
        *('{"spans": ["a"', "[" * 100_000, '{"spans": [["a"]]}', 'Here: {"spans": ["a"]}'),
    ],
)
def test_other_replies_are_malformed(reply):
    with pytest.raises(Malformed) as error:
        quotes_of(reply)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_the_rules_follow_the_kind():
    def rules(kind, of):
        system, user = messages(Record((("user", "How?"),), "So.", kind=of), kind)
        assert user["content"] == "QUESTION\nHow?\n\nANSWER\nSo."
        return ["In code mark" in system["content"], "In mathematics mark" in system["content"]]

    assert rules("auto", "code") == rules("code", "math") == [True, False]
    assert rules("auto", "math") == rules("math", "chat") == [False, True]
    assert rules("auto", "chat") == [True, True]
    assert json.loads(json.dumps(messages(Record((("user", "é"),), "ü"), "auto")))
