"""From messages to token ids: the one place where prompts are rendered, for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lift_harness.errors import LiftError
from lift_harness.models import bounded

END_OF_TURN = ("<|eot_id|>", "<|im_end|>", "<|role_end|>")


def render_chat(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Messages as the text that the tokenizer's chat template makes of them.

    Without `add_generation_prompt` the last message is left open, to be continued by the model
    (lm-eval asks for this when a task sets `gen_prefix`).

    Raises:
        LiftError: the tokenizer has no chat template, or it does not render.
    """
    return render_chats(tokenizer, [messages], add_generation_prompt)[0]


def render_chats(
    tokenizer: Any, conversations: Sequence[list[dict[str, str]]], add_generation_prompt: bool = True
) -> list[str]:
    """`render_chat` of several conversations."""
    if not tokenizer.chat_template:
        raise LiftError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "evaluate without one (chat_template=False) or use an instruct checkpoint"
        )
    return bounded.render(
        tokenizer,
        conversations,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=not add_generation_prompt,
    )


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Ids of a rendered prompt; special tokens are taken from the text, none is added.

    Raises:
        LiftError: text that is no Unicode (bytes that were not UTF-8).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad = f"{error.object[error.start]!r} at character {error.start}"
        raise LiftError(f"the prompt is not Unicode text ({bad}); give it in UTF-8") from error
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def end_of_turn_id(tokenizer: Any) -> int:
    """The id that ends an assistant's turn in the chat template, else the end-of-text id."""
    template = tokenizer.chat_template or ""
    for token in END_OF_TURN:
        if token in template:
            return tokenizer.convert_tokens_to_ids(token)
    return tokenizer.eos_token_id


def stop_ids(tokenizer: Any) -> tuple[int, ...]:
    """Ids after which a response is over: end of turn and end of text."""
    return tuple(dict.fromkeys((end_of_turn_id(tokenizer), tokenizer.eos_token_id)))


def before_end(tokenizer: Any, ids: Sequence[int], keep_end: bool = False) -> list[int]:
    """The ids of a response before its first end of turn or text, or with it."""
    stops = stop_ids(tokenizer)
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[: end + keep_end])


class Encoded(NamedTuple):
    """Ids of one training example; `offsets` are the (start, end) characters of the response's tokens."""

    prompt: list[int]
    response: list[int]
    offsets: list[tuple[int, int]] | None = None


def encode_released(
    tokenizer: Any, messages: list[dict[str, str]], response: str, offsets: bool = False
) -> Encoded:
    """Prompt and response ids of one training example as LIFT's released code makes them.

    It renders question and answer without `add_generation_prompt`, and takes for the prompt's length that of
    the question so rendered, with a line break behind it. So, of a template that appends the assistant's
    header in any case (LLaDA's), the header after the answer is learnt; of one that does not (Dream's),
    the header before the answer is. Where the line break is a token of its own, the prompt takes one token
    of the answer. Source: divelab/LIFT, SFT/sft_trainer.py at b2cacc0.

    Args:
        tokenizer: with a chat template.
        messages: before the response.
        response: the assistant's text, all of it.
        offsets: give the characters of the response's tokens but the last, as `encode_examples` does;
            outside of the response's text they are negative or beyond its end.
    """
    said = [*messages, {"role": "assistant", "content": response}]
    question, whole = bounded.render(tokenizer, [messages, said])
    asked = tokenizer(question + "\n", verbose=False)["input_ids"]
    encoded = tokenizer(whole, verbose=False, return_offsets_mapping=offsets)
    ids, end = encoded["input_ids"], len(asked)
    spans = None
    if offsets:
        begins = whole.rindex(response.strip())  # templates strip what is said
        spans = [(a - begins, b - begins) for a, b in encoded["offset_mapping"][end:-1]]
    return Encoded(ids[:end], ids[end:], spans)


def encode_examples(
    tokenizer: Any,
    conversations: Sequence[list[dict[str, str]]],
    prefixes: Sequence[str],
    responses: Sequence[str],
    offsets: bool = False,
) -> list[Encoded]:
    """Prompt and response ids of several training examples.

    The prompt is what evaluation would send: the chat-formatted messages and the text that the assistant's
    answer is made to begin with. The response ends with the end of turn.

    Args:
        tokenizer: with a chat template.
        conversations: the messages before each response.
        prefixes: one for each.
        responses: one for each.
        offsets: give the characters of the response's tokens too (fast tokenizers can).
    """
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    chats = render_chats(tokenizer, conversations)
    rendered = [chat + prefix for chat, prefix in zip(chats, prefixes, strict=True)]
    prompts = tokenizer(rendered, **options)["input_ids"]
    bodies = tokenizer(list(responses), **options, **({"return_offsets_mapping": True} if offsets else {}))
    end = end_of_turn_id(tokenizer)
    where = bodies["offset_mapping"] if offsets else [None] * len(prompts)
    return [
        Encoded(prompt, [*body, end], spans)
        for prompt, body, spans in zip(prompts, bodies["input_ids"], where, strict=True)
    ]
