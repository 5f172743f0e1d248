"""Answers of `lift-tiny` to real prompts: as on the CPU, and whatever the batch."""

from __future__ import annotations

from typing import Any

import torch

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.models import load_model
from lift_harness.models.chat import encode_prompt, render_chat, stop_ids
from lift_harness.tasks.mini_data import sudoku_items
from lift_harness.tasks.prompts import GEN_PREFIX, INSTRUCTIONS, sudoku_question, user_turn
from stages.bench import Bench, Figures

CONFIG = DecodingConfig(gen_length=40, block_length=40, steps=20)  # of lift_sudoku_mini
SAMPLED = CONFIG.replace(temperature=0.7)


def answers(bench: Bench) -> None:
    """128 Sudokus against the CPU; 64 at batch 1 against batch 16, both dtypes, greedy and sampled."""
    torch.set_num_threads(min(4, torch.get_num_threads()))  # a model this small gains nothing from more
    many, some = bench.small(2, 128), bench.small(2, 64)
    bench.attempt("float32 against the CPU", against_cpu, bench, many)
    for name, dtype in bench.dtypes.items():
        for kind, config in (("greedy", CONFIG), ("temperature 0.7", SAMPLED)):
            bench.attempt(f"{name}, {kind}, batch 1 against 16", against_batch, bench, dtype, config, some)


def against_cpu(bench: Bench, number: int) -> Figures:
    """How many answers are those of the CPU, greedy and sampled (keyed noise is the same on every device)."""
    figures: Figures = {"answers": number}
    for kind, config in (("same_greedy", CONFIG), ("same_sampled", SAMPLED)):
        here = ids_of(bench.device, torch.float32, config, number, batch_size=16)
        there = ids_of("cpu", torch.float32, config, number, batch_size=16)
        figures[kind] = sum(a == b for a, b in zip(here, there, strict=True))
    return figures


def against_batch(bench: Bench, dtype: torch.dtype, config: DecodingConfig, number: int) -> Figures:
    """How many ids and answers differ between batch 1 and batch 16."""
    alone = ids_of(bench.device, dtype, config, number, batch_size=1)
    together = ids_of(bench.device, dtype, config, number, batch_size=16)
    pairs = list(zip(alone, together, strict=True))
    ids = sum(a != b for one, two in pairs for a, b in zip(one, two, strict=False))
    return {
        "answers": number,
        "different_answers": sum(one != two for one, two in pairs),
        "different_ids": ids,
        "ids": sum(map(len, alone)),
    }


def ids_of(
    device: str, dtype: torch.dtype, config: DecodingConfig, number: int, batch_size: int
) -> list[list[int]]:
    """The tokens of the answers to the first Sudokus of `lift_sudoku_mini`."""
    model, tokenizer = load_model("lift-tiny", dtype=dtype, device=device)
    prompts = [prompt_of(tokenizer, item["Puzzle"]) for item in sudoku_items()[:number]]
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(prompts)]
    mask_id, stops = tokenizer.mask_token_id, stop_ids(tokenizer)
    return [out.ids for out in run(model, requests, mask_id=mask_id, eos_id=stops, batch_size=batch_size)]


def prompt_of(tokenizer: Any, puzzle: str) -> list[int]:
    """The ids of the protocol's prompt."""
    messages = [
        {"role": "user", "content": user_turn(INSTRUCTIONS["sudoku"], sudoku_question(puzzle))},
        {"role": "assistant", "content": GEN_PREFIX},
    ]
    return encode_prompt(tokenizer, render_chat(tokenizer, messages, add_generation_prompt=False))
