"""From messages to token ids: the one place where prompts are rendered, for training and evaluation."""

from __future__ import annotations

from typing import Any

from lift_harness.errors import LiftError

END_OF_TURN = ("<|eot_id|>", "<|im_end|>")


def render_chat(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """Messages as the text that the tokenizer's chat template makes of them.

    Without `add_generation_prompt` the last message is left open, to be continued by the model
    (lm-eval asks for this when a task sets `gen_prefix`).

    Raises:
        LiftError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise LiftError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template; "
            "evaluate without one (chat_template=False) or use an instruct checkpoint"
        )
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=not add_generation_prompt,
    )


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Ids of a rendered prompt; special tokens are taken from the text, none is added."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


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


def encode_example(tokenizer: Any, user: str, prefix: str, response: str) -> tuple[list[int], list[int]]:
    """Prompt and response ids of one training example.

    The prompt is what evaluation would send: the chat-formatted user turn and the text that the
    assistant's answer is made to begin with (`prefix`). The response ends with the end of turn.
    """
    prompt = render_chat(tokenizer, [{"role": "user", "content": user}]) + prefix
    body = tokenizer(response, add_special_tokens=False)["input_ids"]
    return encode_prompt(tokenizer, prompt), [*body, end_of_turn_id(tokenizer)]
