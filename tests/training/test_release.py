"""`format: release`: the text of LIFT's released code, token for token.

The expected texts and tokens were worked out from that code (divelab/LIFT, SFT/sft_trainer.py at b2cacc0); a
copy of it that is not kept here agreed on 1,064 of 1,064 random rows, with both forms of template.
"""

from hashlib import sha256

import pytest
from pydantic import ValidationError
from support.training_rows import (
    KODCODE,
    LIFT_SFT,
    LOCAL,
    MESSAGES,
    S1K,
    S1K_1_1,
    load,
    only,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lift_harness.errors import LiftError
from lift_harness.training.data import Collator, TokenCounts, tokenize
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, content_hash, stable_ids

INSTRUCTION = "\nAnswer so:\n<reasoning>\n...\n"  # as theirs, it begins and ends with a line break
ROLE_HEADER = "'<|start|>' + message['role'] + '<|end|>\\n\\n'"
# LLaDA's form: what is said is stripped, and the assistant's header follows, asked for or not.
LLADA = (
    "{% for message in messages %}{{ bos_token if loop.first }}{{ " + ROLE_HEADER + " }}"
    "{{ message['content'] | trim }}<|eot|>{% endfor %}{{ '<|start|>assistant<|end|>\\n\\n' }}"
)
# Dream's: nothing is stripped, and the header follows only where it is asked for.
DREAM = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}"
)


def words(template, line_breaks=("\n", "\n\n", "\n\n\n")):
    """A tokenizer of tags, words and runs of line breaks; runs that it lacks are cut into single ones."""
    special = ["<|bos|>", "<|start|>", "<|end|>", "<|eot|>", "<|eos|>", "<|mask|>"]
    text = "user assistant Answer so: <reasoning> </reasoning> <answer> </answer> ... 6x7? Six sevens. 42"
    known = [*special, *line_breaks, *text.split()]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(known)}, unk_token="..."))
    breaks = "|".join(sorted(line_breaks, key=len, reverse=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rf"{breaks}|</?\w+>"), "isolated"),
            pre_tokenizers.Split(Regex(" "), "removed"),
        ]
    )
    tokenizer.add_special_tokens(special)
    names = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|eos|>", "mask_token": "<|mask|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **names)


def tokens(tokenizer, ids):
    return " ".join(tokenizer.convert_ids_to_tokens(ids)).replace("\n", "\\n")


# ---------------------------------------------------------------- what each source's rows become

SIX_SEVENS = f"{INSTRUCTION}\n\nWhat is 6 x 7?"
GSM8K = {"question": "1,500 - 3?", "answer": " 1500-3=<<1500-3=1497>>1,497 eggs.\n#### 1,497 "}


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
@pytest.mark.parametrize(
    "row, user, response",
    [
        (
            S1K,
            SIX_SEVENS,
            "<reasoning>Six sevens.\n</reasoning>\n<answer>It is 42.\n\nSo: $\\boxed{42}$\n</answer>",
        ),
        (
            S1K_1_1,
            SIX_SEVENS,
            "<reasoning>Six sevens.</reasoning>\n<answer>It is 42.\n\nSo: $\\boxed{42}$</answer>",
        ),
        (LIFT_SFT, SIX_SEVENS, "<reasoning>Six sevens.</reasoning>\n<answer>42</answer>"),
        (LOCAL, SIX_SEVENS, "<reasoning>Six sevens.</reasoning>\n<answer>42</answer>"),
        (
            GSM8K,
            f"{INSTRUCTION}\n\n1,500 - 3?",
            "<reasoning>1500-3=<<1500-3=1497>>1,497 eggs.</reasoning>\n<answer>1,497</answer>",
        ),
    ],
    ids=["s1k", "s1k-1.1", "lift-sft-12k", "question-reasoning-answer", "gsm8k"],
)
def test_mathematics(write, name, row, user, response):
    path = write([row], name)
    record = only(load(path, format="release", instruction=INSTRUCTION))
    assert record == Record((("user", user),), response, "", "math", f"{path}:1", release=True)


SAID = "Please solve: Add two numbers."
PROGRAM = "def add(a, b):\n    return b + a"  # r1_solution, which comes before `solution`


@pytest.mark.parametrize(
    "changed, question, response",
    [
        (
            {},
            SAID,
            "<reasoning>\nAdd.\n</reasoning>\n\n```python\ndef add(x, y):\n    return x + y\n```\nDone.\n"
            f"<answer>{PROGRAM}</answer>",
        ),
        (
            {"conversations": [{"from": "gpt", "value": " <think>Add.</think><answer>x</answer> "}]},
            "Add two numbers.",
            "<reasoning>Add.</reasoning><answer>x</answer>",
        ),
        (
            {"conversations": [{"from": "gpt", "value": "Add."}, {"from": "gpt", "value": "No."}]},
            "Add two numbers.",
            f"<reasoning>Add.</reasoning>\n<answer>{PROGRAM}</answer>",
        ),
        (
            {"conversations": None, "r1_solution": None},
            "Add two numbers.",
            f"<reasoning></reasoning>\n<answer>{KODCODE['solution']}</answer>",
        ),
    ],
)
def test_kodcode(write, changed, question, response):
    record = only(load(write([KODCODE | changed]), format="release", instruction=INSTRUCTION))
    assert (record.user, record.response) == (f"{INSTRUCTION}\n\n{question}", response)


# ---------------------------------------------------------------- tokens

ROW = {"question": " 6x7? ", "reasoning": "Six sevens.", "answer": " 42 "}
ASKED = r"<|bos|> <|start|> user <|end|> \n\n Answer so: \n <reasoning> \n ... \n\n\n 6x7? <|eot|>"
HEADER = r"<|start|> assistant <|end|> \n\n"
ANSWER = r"<reasoning> Six sevens. </reasoning> \n <answer> 42 </answer>"


def example_of(write, tokenizer, **how):
    record = only(load(write([ROW]), format="release", instruction=INSTRUCTION))
    (example,) = tokenize([record], tokenizer, **how)
    return example


def test_the_answer_is_learnt_whole_and_the_header_after_it(write):
    """The header's line breaks and the one behind them are one token."""
    tokenizer = words(LLADA)
    example = example_of(write, tokenizer)
    assert tokens(tokenizer, example.prompt) == f"{ASKED} {HEADER}"
    assert tokens(tokenizer, example.response) == f"{ANSWER} <|eot|> {HEADER}"


def test_where_the_line_break_is_a_token_the_prompt_takes_one_of_the_answer(write):
    tokenizer = words(LLADA, line_breaks=("\n", "\n\n"))
    example = example_of(write, tokenizer)
    asked = ASKED.replace(r"\n\n\n", r"\n\n \n")
    assert tokens(tokenizer, example.prompt) == f"{asked} {HEADER} <reasoning>"
    learnt = ANSWER.removeprefix("<reasoning> ")
    assert tokens(tokenizer, example.response) == f"{learnt} <|eot|> {HEADER}"


def test_a_template_that_appends_no_header(write):
    tokenizer = words(DREAM)
    example = example_of(write, tokenizer)
    asked = r"<|start|> user \n\n Answer so: \n <reasoning> \n ... \n\n\n 6x7? <|end|> \n"
    assert tokens(tokenizer, example.prompt) == asked
    assert tokens(tokenizer, example.response) == rf"<|start|> assistant \n {ANSWER} <|end|> \n"


def test_what_is_longer_is_cut_and_what_is_shorter_is_padded(write):
    tokenizer = words(LLADA)
    whole = example_of(write, tokenizer)
    ids = [*whole.prompt, *whole.response]
    counts = TokenCounts()
    cut = example_of(write, tokenizer, max_length=25, long="truncate", counts=counts)
    assert [*cut.prompt, *cut.response] == ids[:25] and counts.truncated == 1
    batch = Collator(tokenizer.eos_token_id, pad_to=40)([whole])
    assert batch["input_ids"][0].tolist() == ids + [tokenizer.eos_token_id] * (40 - len(ids))
    assert (batch["labels"][0] == -100).tolist() == [True] * len(whole.prompt) + [False] * (
        40 - len(whole.prompt)
    )


def test_both_forms_side_by_side(write):
    tokenizer = words(LLADA)
    path = write([ROW])
    released, ours = (load(path, **how).records for how in ({"format": "release", "instruction": "x y"}, {}))
    together = tokenize([*ours, *released], tokenizer)
    assert together == [*tokenize(ours, tokenizer), *tokenize(released, tokenizer)]
    assert together[0].id != together[1].id


def test_the_form_is_part_of_what_an_example_is():
    record = Record((("user", "a"),), "b")
    released = Record((("user", "a"),), "b", release=True)
    assert stable_ids([record]) != stable_ids([released]) and content_hash([record]) != content_hash(
        [released]
    )


def test_marked_characters_are_found_in_the_learnt_part(write):
    row = ROW | {"priority_spans": [[4, 11]]}
    record = only(load(write([row]), format="release", instruction=INSTRUCTION))
    tokenizer = words(LLADA)
    (example,) = tokenize([record], tokenizer, priority="auto")
    flagged = [i for i, flag in zip(example.response, example.priority, strict=True) if flag]
    assert tokens(tokenizer, flagged) == "sevens." and len(example.priority) == len(example.response)


# ---------------------------------------------------------------- the instruction, and what has no such form


def test_the_instruction_comes_from_a_file_with_its_line_breaks(write, tmp_path):
    (tmp_path / "theirs.txt").write_bytes(INSTRUCTION.encode())
    data = load(write([ROW]), format="release", instruction=str(tmp_path / "theirs.txt"))
    assert only(data).user == f"{INSTRUCTION}\n\n 6x7? "
    (summary,) = data.manifest()["sources"]
    assert summary["origin"]["format"] == "release"
    assert summary["origin"]["instruction_sha256"] == sha256(INSTRUCTION.encode()).hexdigest()


@pytest.mark.parametrize("text", ["Answer so. Use tags", "Answer so: " * 100, "so\nthat"])
def test_or_it_is_the_text(write, text):
    data = load(write([ROW]), format="release", instruction=text)
    assert only(data).user == f"{text}\n\n 6x7? "


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        ([ROW], {"instruction": "theirs.txt"}, "instruction='theirs.txt': No such file or directory; give a"),
        (
            [ROW],
            {"instruction": "my prompts/theirs.txt"},
            "instruction='my prompts/theirs.txt': No such file",
        ),
        ([GSM8K | {"priority_spans": [[0, 1]]}], {}, "train.jsonl:1: 'priority_spans' count in a response"),
        ([KODCODE | {"priority_spans": [[0, 1]]}], {}, "train.jsonl:1: 'priority_spans' count in a response"),
        ([{"messages": MESSAGES}], {}, "train.jsonl:1: format=release is of questions and answers"),
        ([ROW], {"kind": "chat"}, "train.jsonl:1: format=release is of questions and answers"),
        ([GSM8K | {"answer": "3"}], {}, "train.jsonl:1: 'answer' holds no '####'"),
    ],
)
def test_what_has_no_such_form(write, rows, settings, message):
    with pytest.raises(LiftError, match=message) as error:
        load(write(rows), format="release", **({"instruction": INSTRUCTION} | settings))
    assert "\n" not in str(error.value)


def test_a_reasoning_that_is_given_is_kept_of_programs_too(write):
    record = only(load(write([ROW]), kind="code", format="release", instruction="Answer so."))
    assert record.response == "<reasoning>Six sevens.</reasoning>\n<answer> 42 </answer>"
    assert record.user == "Answer so.\n\n 6x7? "


def test_generated_text_has_no_such_form():
    with pytest.raises(LiftError, match="'sudoku' is generated, so it takes no format='release'"):
        load("sudoku", n=1, format="release", instruction=INSTRUCTION)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"format": "release"}, "needs its instruction"),
        ({"instruction": "x"}, "instruction is of format: release"),
        ({"format": "theirs"}, "'ours' or 'release'"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValidationError, match=message):
        DataSource(source="s1k", **settings)
