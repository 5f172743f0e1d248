"""From records to batches: ids, lengths, truncation, priority, the collator; the preview."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.models.chat import encode_examples
from lift_harness.pipeline.data import new_tokenizer, tokenizer_of
from lift_harness.pipeline.preview import AtTime, hidden_tokens, preview, preview_recipe
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.training import priority
from lift_harness.training.data import Collator, Example, TokenCounts, describe, least, tokenize
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, stable_ids
from lift_harness.training.sources.synthetic import generated

HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n"


@pytest.fixture(scope="module")
def records():
    """Twelve, of different lengths."""
    found = []
    for i, record in enumerate(generated("arithmetic", 12, seed=1), start=1):
        longer = " 1 + 1 = 2" * i + record.response
        found.append(replace(record, response=longer, origin=f"made:{i}"))
    return found


# ---------------------------------------------------------------- tokens


def test_a_conversation_is_rendered_turn_by_turn(tokenizer):
    said = (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "2 + 2?"))
    (example,) = tokenize([Record(said, "4", "", "chat", "x:1")], tokenizer)
    prompt = "<|startoftext|>" + "".join(f"{HEAD.format(role)}{text}<|eot_id|>" for role, text in said)
    assert tokenizer.decode(example.prompt) == prompt + HEAD.format("assistant")
    assert tokenizer.decode(example.response) == "4<|eot_id|>"
    assert (example.origin, example.priority) == ("x:1", None)
    messages = [{"role": role, "content": text} for role, text in said]
    (one,) = encode_examples(tokenizer, [messages], [""], ["4"])
    assert one == (example.prompt, example.response, None)


def test_many_are_encoded_as_one_by_one(tokenizer, records):
    many = (records * 30)[:300]  # more than are encoded together
    for record, example in zip(many, tokenize(many, tokenizer), strict=True):
        messages = [{"role": "user", "content": record.user}]
        (one,) = encode_examples(tokenizer, [messages], ["<reasoning>"], [record.response])
        assert one == (example.prompt, example.response, None)


def test_ids_do_not_depend_on_order_filters_or_length(tokenizer, records):
    ids = {example.origin: example.id for example in tokenize(records, tokenizer)}
    assert list(ids.values()) == stable_ids(records)
    other = tokenize(records[::-2], tokenizer, max_length=50, long="truncate")
    assert len(other) == 6 and all(example.id == ids[example.origin] for example in other)
    twice = tokenize([*records, *records], tokenizer)
    assert len({example.id for example in twice}) == 24
    assert torch.tensor([example.id for example in twice]).dtype == torch.int64


def test_long_examples_are_refused_dropped_or_cut_and_counted(tokenizer, records):
    whole = tokenize(records, tokenizer)
    lengths = [len(example) for example in whole]
    limit = sorted(lengths)[5]
    assert min(lengths) < limit < max(lengths)
    first = next(example for example in whole if len(example) > limit)
    with pytest.raises(LiftError, match=f"^{first.origin}: {len(first)} tokens, more than the {limit} that"):
        tokenize(records, tokenizer, max_length=limit)

    counts = TokenCounts()
    kept = tokenize(records, tokenizer, max_length=limit, long="drop", counts=counts)
    assert kept == [example for example in whole if len(example) <= limit]
    assert (counts.examples, counts.too_long, counts.truncated) == (len(kept), 12 - len(kept), 0)

    counts = TokenCounts()
    cut = tokenize(records, tokenizer, max_length=limit, long="truncate", counts=counts)
    for example, before in zip(cut, whole, strict=True):
        assert example.prompt == before.prompt
        assert example.prompt + example.response == (before.prompt + before.response)[:limit]
    assert counts.truncated == sum(n > limit for n in lengths) and counts.examples == 12
    assert counts.manifest()["tokens"] == sum(min(n, limit) for n in lengths)


def test_nothing_without_a_response_is_trained_on(tokenizer, records):
    long_question = Record((("user", "1 + 2 " * 50),), "3", "", "chat", "x:1")
    blank = Record((("user", "1"),), " \n", "", "chat", "x:2")
    masked = [Record((("user", "1 <|mdm_mask|>"),), "1"), Record((("user", "1"),), "<|mdm_mask|>")]
    counts = TokenCounts()
    found = tokenize(
        [*records, long_question, blank, *masked], tokenizer, max_length=90, long="truncate", counts=counts
    )
    assert len(found) == counts.examples == 12
    assert (counts.no_room, counts.empty, counts.mask_in_text, counts.too_long) == (1, 1, 2, 0)
    message = (
        "^no training example is left of 2: 1 with an empty response, 1 with the mask token in the text$"
    )
    with pytest.raises(LiftError, match=message):
        tokenize([blank, masked[0]], tokenizer)


def test_one_token_of_room_is_an_example(tokenizer):
    record = Record((("user", "1"),), "1 + 2", "", "chat")
    (whole,) = tokenize([record], tokenizer)
    counts = TokenCounts()
    (cut,) = tokenize([record], tokenizer, max_length=len(whole.prompt) + 1, long="truncate", counts=counts)
    assert cut.response == whole.response[:1] and counts.truncated == 1
    with pytest.raises(LiftError, match="1 with a prompt that takes all of max_length"):
        tokenize([record], tokenizer, max_length=len(whole.prompt), long="truncate")


def test_quantiles_are_lengths_that_occur(tokenizer, records):
    counts = TokenCounts()
    examples = tokenize(records, tokenizer, counts=counts)
    found = counts.quantiles()
    lengths = sorted(len(example) for example in examples)
    assert (found["both"]["min"], found["both"]["max"]) == (lengths[0], lengths[-1])
    assert found["both"]["median"] in (lengths[5], lengths[6])
    assert found["response"]["max"] == max(len(example.response) for example in examples)
    assert TokenCounts().quantiles() == {}
    json.dumps(counts.manifest())


def test_a_template_that_refuses_a_role_names_the_row(tokenizer, records, monkeypatch):
    template = "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('no system') }}{%- endif -%}"
    monkeypatch.setattr(tokenizer, "chat_template", template + tokenizer.chat_template)
    system = Record((("system", "Be brief."), ("user", "1")), "2", "", "chat", "train.jsonl:17")
    with pytest.raises(
        LiftError, match=r"^train.jsonl:17: cannot be encoded: the chat template does not render: no system$"
    ):
        tokenize([*records, system], tokenizer)


def test_where_examples_come_from():
    examples = [Example(5, [1], [2], origin="a.jsonl:3"), Example(6, [1], [2])]
    assert describe(examples, [6, 5]) == "an example (id 6), a.jsonl:3 (id 5)"
    assert least(None, 3, 5) == 3 and least(None) is None


# ---------------------------------------------------------------- priority


@pytest.fixture
def rules(monkeypatch):
    """Stands for the rules: digits are priority in mathematics, letters in code."""

    def priority_spans(text, kind):
        return [found.span() for found in re.finditer({"math": r"\d", "code": "[a-z]"}[kind], text)]

    def token_flags(offsets, spans):
        return [any(a < end and start < b for start, end in spans) for a, b in offsets]

    monkeypatch.setattr(priority, "priority_spans", priority_spans)
    monkeypatch.setattr(priority, "token_flags", token_flags)


def chosen(tokenizer, record, **options):
    (example,) = tokenize([record], tokenizer, **options)
    assert len(example.priority) == len(example.response)
    return [tokenizer.decode([i]) for i, flag in zip(example.response, example.priority, strict=True) if flag]


def test_priority_by_kind_by_rule_or_as_marked(tokenizer, rules):
    math = Record((("user", "?"),), "q 7 z 8 ~", "<reasoning>", "math")
    assert chosen(tokenizer, math, priority="auto") == chosen(tokenizer, math, priority="math") == ["7", "8"]
    assert [token.strip() for token in chosen(tokenizer, math, priority="code")] == ["q", "z"]
    assert chosen(tokenizer, replace(math, kind="chat"), priority="auto") == []
    marked = replace(math, spans=((8, 9),))
    assert "".join(chosen(tokenizer, marked, priority="math")).strip() == "~"
    (example,) = tokenize([math], tokenizer, priority="auto")
    room = len(example.prompt) + 3
    (cut,) = tokenize([math], tokenizer, priority="auto", max_length=room, long="truncate")
    assert cut.priority == example.priority[:3]


def test_priority_by_the_real_rules(tokenizer):
    pytest.importorskip("lift_harness.training.priority")
    math = Record((("user", "?"),), "so 12 + 30 = 42", "<reasoning>", "math")
    assert {"12", "30", "42"} <= set(
        "".join(chosen(tokenizer, math, priority="auto")).replace("+", " ").replace("=", " ").split()
    )


def test_the_collator_gives_priority_only_where_there_is_some():
    marked, plain = Example(1, [1, 2], [3, 4], [True, False]), Example(2, [1], [2, 3, 4, 5])
    batch = Collator(eos_id=9)([marked, plain])
    assert batch["priority"].tolist() == [[False, False, True, False, False], [False] * 5]
    assert batch["priority"].dtype == torch.bool
    assert "priority" not in Collator(eos_id=9)([plain])


def test_the_collator_never_cuts():
    examples = [Example(1, [1], [2], origin="a:1"), Example(2, [1, 2], [3, 4], origin="a:2")]
    with pytest.raises(
        LiftError, match=r"^training example a:2 \(id 2\) has 4 tokens, more than pad_to=3; raise it"
    ):
        Collator(eos_id=9, pad_to=3)(examples)
    assert Collator(eos_id=9, pad_to=4)(examples)["input_ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 4]]
    big = Collator(eos_id=9)([replace(examples[0], id=2**63 - 1)])["example_id"]
    assert big.tolist() == [2**63 - 1]


# ---------------------------------------------------------------- preview


@pytest.fixture(scope="module")
def three(tokenizer, records):
    return tokenize(records[:3], tokenizer)


def as_batch(examples, tokenizer):
    inputs = Collator(tokenizer.eos_token_id)(examples)
    return Batch(inputs["input_ids"], inputs["labels"] != -100, inputs["example_id"], tokenizer.mask_token_id)


class Seen:
    """A model that notes what it is shown."""

    def __init__(self, model):
        self.model, self.inputs = model, []
        model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, module, args, kwargs):
        self.inputs.append(kwargs["input_ids"].clone())


def test_what_is_hidden_is_what_training_would_hide_at_that_time(tokenizer, three, tiny_model):
    """The key draws t; at exactly that t the preview hides the same tokens as the training step."""
    objective, batch = get_objective("vanilla"), as_batch(three, tokenizer)
    loss = objective(tiny_model(), batch, NoiseKey(7, 0))
    for row in range(3):
        hidden = hidden_tokens(objective, batch, AtTime(7, 0, loss.t[row].item()))
        assert torch.equal(hidden[row], loss.inputs[row] == tokenizer.mask_token_id)
    other = hidden_tokens(objective, batch, AtTime(8, 0, loss.t[0].item()))
    assert not torch.equal(other[0], loss.inputs[0] == tokenizer.mask_token_id)


def test_lift_shows_its_first_pass_or_with_a_model_what_it_learns(tokenizer, three, tiny_model):
    objective, batch, key = get_objective("lift", H=2), as_batch(three, tokenizer), AtTime(3, 0, 0.3)
    model = tiny_model()
    seen = Seen(model)
    exact = hidden_tokens(objective, batch, key, model)
    first, last = (inputs == tokenizer.mask_token_id for inputs in seen.inputs)
    assert torch.equal(hidden_tokens(objective, batch, key), first)
    assert torch.equal(exact, last) and (first & last).sum() == last.sum() < first.sum()


@pytest.mark.parametrize("t", [0.0, -1, 1.01])
def test_a_time_that_is_none(tokenizer, three, t):
    with pytest.raises(LiftError, match=r"is not in \(0, 1\]"):
        preview(three, tokenizer, get_objective("vanilla"), t=t)


def shown(tokenizer, examples, width=500, terminal=False, **options):
    console = Console(width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    with console.capture() as captured:
        console.print(preview(examples, tokenizer, get_objective("vanilla"), **options))
    return captured.get()


def test_hidden_tokens_are_told_apart_without_colour(tokenizer, three):
    text = shown(tokenizer, three, t=0.5, seed=2, plain=True)
    hidden = hidden_tokens(get_objective("vanilla"), as_batch(three, tokenizer), AtTime(2, 0, 0.5))
    bodies = re.findall(r"\|\|\| (.*?)(?: <\|endoftext\|> x (\d+), (\d+) hidden)?\s*│\n╰", text, re.DOTALL)
    width = max(map(len, three))
    assert len(bodies) == 3
    for (body, padding, hidden_padding), example, marks in zip(bodies, three, hidden.tolist(), strict=True):
        start, end = len(example.prompt), len(example)
        found = "".join(re.findall(r"\[\[(.*?)\]\]", re.sub(r"\s*│\n│ ?", "\n", body), re.DOTALL))
        ids = [i for i, mark in zip(example.response, marks[start:end], strict=True) if mark]
        assert re.sub(r"\s", "", found.replace("\\n", "")) == re.sub(r"\s", "", tokenizer.decode(ids))
        assert int(padding or 0) == width - end
        assert int(hidden_padding or 0) == sum(marks[end:])
    assert three[0].origin in text and str(three[0].id) in text
    assert "\x1b" not in text


def test_hidden_tokens_in_colour(tokenizer, three):
    text = shown(tokenizer, three, terminal=True, t=1.0)
    coloured = Counter(re.findall(r"\x1b\[([\d;]+)m", text))
    assert coloured["30;43"] >= 3 and coloured["2"] >= 3
    assert "[[" not in text


def test_text_does_not_steer_the_terminal(tokenizer):
    examples = tokenize(
        [Record((("user", "\x1b[2J[red]a[/red]"),), "\x1b]0;x\x07", "", "chat", "x:1")], tokenizer
    )
    text = shown(tokenizer, examples, plain=True, t=0.001)
    assert "\x1b" not in text and "\x07" not in text and r"\u001b[2J[red]a[/red]" in text


def recipe_with(sources):
    recipe = load_recipe("quickstart")
    recipe.data = sources
    return recipe


def test_the_preview_of_a_recipe(tmp_path):
    rows = [{"question": f"{i} + 1?", "reasoning": "Add.", "answer": i + 1} for i in range(30)]
    path = tmp_path / "train[red].jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [DataSource(source=str(path), n=20, max_tokens=300), DataSource(source="sudoku", n=5)]
    console = Console(width=400)
    with console.capture() as captured:
        preview_recipe(recipe_with(sources), n=2, t=0.4, method="lift-h3", console=console)
    text = captured.get()
    assert "quickstart, lift-h3: t = 0.4, seed 0, epoch 0; [[hidden]]" in text
    assert "train[red].jsonl:" in text and "train[red].jsonl │" in text
    assert text.count("Solve this mathematics problem") == 2
    assert "25 examples to train on, " in text and "10 not drawn" in text
    assert re.search(r"sha256 [0-9a-f]{64}", text)
    with pytest.raises(LiftError, match="the recipe has no method 'lift'; did you mean lift-h3"):
        preview_recipe(recipe_with(sources), method="lift", console=console)


def test_the_preview_of_a_recipe_that_is_too_long_says_so(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"prompt": "1 " * 600, "response": "2"}) + "\n")
    with pytest.raises(
        LiftError, match=r"train.jsonl:1: \d+ tokens, more than the 512 that there is room for"
    ):
        preview_recipe(recipe_with([DataSource(source=str(path))]), console=Console(quiet=True))


def test_a_tokenizer_without_its_model():
    from lift_harness.models import load_model

    found, context = tokenizer_of("lift-tiny")
    model, expected = load_model("lift-tiny")
    assert (found.mask_token_id, found.eos_token_id) == (expected.mask_token_id, expected.eos_token_id)
    assert found("2 + 3")["input_ids"] == expected("2 + 3")["input_ids"]
    assert context == model.config.max_position_embeddings


def test_the_tokenizer_of_a_new_model(records):
    tokenizer = new_tokenizer(records)
    example = tokenize(records, tokenizer)[0]
    assert np.mean([len(tokenizer.decode([i])) for i in example.prompt]) > 3  # merged: not letter by letter
