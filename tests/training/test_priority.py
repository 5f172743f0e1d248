"""Priority spans by rule, and the tokens that they flag."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.training.priority import priority_spans, token_flags

light = settings(max_examples=150, deadline=None, derandomize=True)


def found(text, kind):
    return [text[start:end] for start, end in priority_spans(text, kind)]


# ---- mathematics


@pytest.mark.parametrize(
    "text, expected",
    [
        ("so 12 + 30 = 42", ["12", "+", "30", "=", "42"]),
        ("x - y <= 3", ["-", "<=", "3"]),
        ("f(x)/2 and (4-1)*3", ["/2", "4-1", "*3"]),
        ("costs $1,200.50, or 5% more", ["1,200.50", "5%"]),
        (r"\frac{3}{4} \times 2 \leq \left(7\right)", [r"\frac", "3", "4", r"\times", "2", r"\leq", "7"]),
        (r"thus \boxed{\frac{a}{b}} holds", [r"\boxed{\frac{a}{b}}"]),
        (r"\boxed{no end" + "\nnext 1", [r"\boxed{no end", "1"]),
        ("3 × 4 ÷ 2 ≠ 7", ["3", "×", "4", "÷", "2", "≠", "7"]),
        ("= -3, 2**3, x^2", ["=", "-3", "2**3", "^2"]),
        ("<answer>-5</answer>", ["-5"]),
        # No mathematics: hyphens, bullets, rules, bold type, tags, alternatives.
        ("a two-digit, T-shirt-sized **bold** and/or <b>text</b>", []),
        ("- first\n* second\n---\n=====\n", []),
        ("- 3 apples", ["3"]),
        ("", []),
    ],
)
def test_numbers_operators_and_boxes(text, expected):
    assert found(text, "math") == expected


def test_gsm8k_like_reasoning():
    text = "<reasoning>\nShe sold 48/2 = 24, so 48 + 24 = 72.\n</reasoning>\n<answer>\n\\boxed{72}\n</answer>"
    assert found(text, "math") == ["48/2", "=", "24", "48", "+", "24", "=", "72", r"\boxed{72}"]


# ---- code

PROGRAM = '''def f(n: int) -> int:
    """é: doc if else"""
    s = "for é"
    for i in range(n):
        if i % 2 == 0 and s:
            continue
        elif i > 3: break
        else:
            x = [a if a else 0 for a in s]
    try:
        with open("é") as a, g() as b:
            raise ValueError("é") from None
    except (A, B) as e:
        pass
    finally:
        pass
    match s:
        case [1, *_] if n > 2:
            return 1
        case _:
            yield 3
    é = 1; assert é
    return s + 1
'''
CONTROL = [
    "for i in range(n)",
    "if i % 2 == 0 and s",
    "continue",
    "elif i > 3",
    "break",
    "else",
    *("if", "else", "for"),  # in expressions the keywords alone
    "try",
    'with open("é") as a, g() as b',
    'raise ValueError("é") from None',
    "except (A, B)",
    "finally",
    "match s",
    "case [1, *_] if n > 2",
    "return 1",
    "case _",
    "yield 3",
    "assert é",
    "return s + 1",
]


@pytest.mark.parametrize("kind", ["code", "auto"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_control_flow_of_python(kind, ends):
    assert found(PROGRAM.replace("\n", ends), kind) == CONTROL


@pytest.mark.parametrize("close", ["\n```\nIt has 5 lines.\n", "", "\n```</answer>\n"])
def test_in_fences_only_the_code_counts(close):
    text = f"First, if you like, 2 + 2.\n```python\n{PROGRAM.strip()}{close}"
    assert found(text, "code") == CONTROL
    assert found(text, "auto") == ["2", "+", "2", *CONTROL] + (["5"] if "5" in close else [])


def test_text_that_does_not_parse_goes_by_lines():
    java = "for (int i = 0; i < n; i++) {\n  int format = 1;\n  if (x) {\n    return 3;\n  } else {\n  }\n}"
    assert found(java, "code") == ["for (int i = 0; i < n; i++)", "if (x)", "return 3", "else"]
    assert found("def f(:\n  for x in y:\n    return", "code") == ["for x in y", "return"]
    cut = PROGRAM[: PROGRAM.index("continue") + 4] + "\n    (("
    assert found(cut, "code") == ["for i in range(n)", "if i % 2 == 0 and s"]


def test_auto_reads_plain_text_as_mathematics():
    for text in ("x = 5", "so 3 + 4 = 7\nreturn it", "12"):
        assert priority_spans(text, "auto") == priority_spans(text, "math") != []
    assert found("import os\nx = 5\nif x: y = 3", "auto") == ["if x"]


@pytest.mark.parametrize(
    "text",
    [
        "-" * 10_000 + "1",
        "(" * 10_000,
        "x" + ".y" * 10_000,
        "not " * 10_000 + "x",
        "1" * 10_000,
        "\0 if",
        "\ud800 if",
    ]
    + [
        r"\boxed{" * 3_000,
        "<a" * 10_000,
        "1-" * 10_000,
        "`" * 5_000,
        "```\n" * 3_000,
        "'''",
        "\\",
        "if é:\\\r\n 1",
    ],
)
@pytest.mark.parametrize("kind", ["math", "code", "auto"])
def test_hostile_text_gives_spans_and_no_exception(text, kind):
    check(priority_spans(text, kind), text)


def check(spans, text):
    """In order, inside the text, none empty, none touching another."""
    ends = [0, *(place for span in spans for place in span), len(text)]
    assert ends == sorted(ends)
    assert len(set(ends[1:-1])) == 2 * len(spans)


PIECES = st.sampled_from(
    [
        "if ",
        "x",
        ":",
        "\n",
        "    ",
        "return",
        " else ",
        "```",
        "```python\n",
        "\\boxed{",
        "}",
        "{",
        "12",
        "3.5",
        "+",
        "- ",
    ]
    + [
        "=",
        "<answer>",
        "é",
        "'",
        '"',
        "(",
        ")",
        "for a in b",
        "\r",
        "\t",
        "def f():",
        "case",
        "match x",
        "\x0c",
        "**",
        "\u2212",
    ]
)


@light
@given(
    text=st.text(max_size=60) | st.lists(PIECES, max_size=25).map("".join),
    kind=st.sampled_from(["math", "code", "auto"]),
)
def test_any_text_gives_spans_in_order(text, kind):
    spans = priority_spans(text, kind)
    check(spans, text)
    if kind == "math":  # every digit is in a span
        flagged = {place for span in spans for place in range(*span)}
        tags = {
            place for tag in re.finditer(r"</?[A-Za-z][A-Za-z_]*/?>", text) for place in range(*tag.span())
        }
        assert {i for i, c in enumerate(text) if c in "0123456789"} - tags <= flagged


def test_an_unknown_kind_is_refused():
    with pytest.raises(LiftError, match="priority kind 'maths': known are math, code and auto"):
        priority_spans("1", "maths")


# ---- tokens

PAIRS = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair)))


@light
@given(offsets=st.lists(PAIRS, max_size=20), spans=st.lists(PAIRS, max_size=8))
def test_a_token_is_flagged_if_it_shares_a_character_with_a_span(offsets, spans):
    inside = {place for span in spans for place in range(*span)}
    assert token_flags(offsets, spans) == [bool(inside & set(range(*token))) for token in offsets]


def test_tokens_of_a_real_tokenizer(tokenizer):
    text = "so 12 + 30 = 42 apples"
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    flags = token_flags(encoded["offset_mapping"], priority_spans(text, "math"))
    chosen = "".join(
        text[start:end] for (start, end), flag in zip(encoded["offset_mapping"], flags, strict=True) if flag
    )
    assert len(flags) == len(encoded["input_ids"]) and not all(flags)
    assert chosen.replace(" ", "") == "12+30=42"
