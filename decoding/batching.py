"""`generate` and `run`: from prompts to results, in batches that fit."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from lift_harness.decoding.batch import Batch
from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.engine import decode
from lift_harness.decoding.request import Generation, Request, excess_tokens
from lift_harness.decoding.resolve import resolve
from lift_harness.decoding.row import Row
from lift_harness.errors import LiftError, out_of_memory

OnDone = Callable[[int, Generation], None]


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    mask_id: int,
    eos_id: int | Sequence[int] | None = None,
    requests: Sequence[int] | None = None,
    samples: Sequence[int] | None = None,
    infill: bool = False,
    batch_size: int = 16,
    on_done: OnDone | None = None,
) -> list[Generation]:
    """Decode every prompt; the results come in the order of the prompts.

    Args:
        model: has `hidden_states(input_ids, attention_mask, position_ids, cache, at)`, `logits_at(hidden)`,
            `logit_shift`, `cache_shape` (None: it takes no cache) and `block_size` (None: bidirectional).
        prompts: token ids, not empty.
        config: decoding settings.
        mask_id: the id of the mask token.
        eos_id: id or ids that end the text, for `early_stop`.
        requests: number that keys each prompt's randomness; its index by default.
        samples: which of several samples of the request this is; 0 by default.
        infill: fill the masks inside the prompts instead of appending.
        batch_size: requests decoded together.
        on_done: called with the index and result of each finished request.

    Raises:
        LiftError: an empty prompt, or one that leaves no room for `gen_length` in the model's context.
    """
    requests = range(len(prompts)) if requests is None else requests
    samples = [0] * len(prompts) if samples is None else samples
    wanted = [
        Request(tuple(prompt), config, key, sample, infill=infill)
        for prompt, key, sample in zip(prompts, requests, samples, strict=True)
    ]
    return run(model, wanted, mask_id=mask_id, eos_id=eos_id, batch_size=batch_size, on_done=on_done)


@torch.inference_mode()
def run(
    model: Any,
    requests: Sequence[Request],
    *,
    mask_id: int,
    eos_id: int | Sequence[int] | None = None,
    batch_size: int | None = 16,
    token_budget: int | None = None,
    static: bool = False,
    compile: bool | str = False,
    on_done: OnDone | None = None,
    on_step: OnDone | None = None,
    on_pass: Callable[[int], None] | None = None,
    counts: Counter[str] | None = None,
) -> list[Generation]:
    """Fill every request's canvas; the results come in the order of the requests.

    Args:
        model: as for `generate`.
        requests: what to decode; each has settings of its own.
        mask_id: as for `generate`.
        eos_id: as for `generate`.
        batch_size: requests decoded together; None: as many as `token_budget` admits.
        token_budget: canvas columns in a pass, all rows and their padding together; None: no bound. Where
            memory does not suffice the batch is halved, and what is unfinished starts again.
        static: keep the shapes of passes constant, at the price of padding.
        compile: compile the passes with `torch.compile` (True, or its `mode`: "reduce-overhead" makes CUDA
            graphs); implies `static`.
        on_done: as for `generate`.
        on_step: called after each pass with the index and the result so far of each request in it (what is
            masked: the mask's id, step -1). It costs a copy to the host; what it raises ends the decoding.
        on_pass: called after each pass with the number of tokens that the requests in it have so far.
        counts: is given the number of model calls ("calls"), of canvases and columns that they computed, of
            positions projected onto the vocabulary, and of retries for want of memory ("out_of_memory").

    Raises:
        LiftError: see `resolve` and `check`; or one request alone does not fit in memory.
    """
    requests = [replace(request, config=resolve(request.config, model)) for request in requests]
    check(model, requests, mask_id)
    stops = () if eos_id is None else (eos_id,) if isinstance(eos_id, int) else eos_id
    counts = Counter() if counts is None else counts
    hidden_states = model.hidden_states
    if compile:
        mode = compile if isinstance(compile, str) else None
        hidden_states, static = torch.compile(model.hidden_states, dynamic=False, mode=mode), True
    done: dict[int, Generation] = {}
    for indices in pools(requests, split=token_budget is not None):
        slots = len(indices)
        lanes = max(requests[i].config.speculate * (1 + requests[i].guided) for i in indices)
        while unfinished := [i for i in indices if i not in done]:
            longest = requests[unfinished[0]].length
            width = -(-longest // 64) * 64 if static else longest
            admitted = token_budget // (width * lanes) if token_budget else slots
            slots = max(1, min(slots, batch_size or slots, admitted, len(unfinished)))
            queue = deque(Row(i, requests[i], 0, requests[i].blocks(mask_id)) for i in unfinished)
            batch = None
            try:
                like = requests[indices[0]]
                batch = Batch(model, hidden_states, like, slots, width, mask_id, static, counts)
                for index, result in decode(batch, queue, frozenset(stops), on_step, on_pass):
                    done[index] = result
                    if on_done:
                        on_done(index, result)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if slots == 1:
                    raise LiftError(
                        f"out of memory with one request of {longest} tokens (prompt and gen_length); "
                        "lower gen_length, or use a smaller dtype or a larger device"
                    ) from error
                slots //= 2
                counts["out_of_memory"] += 1
                batch = None  # gives its memory back before the next one takes its own
                if model.device.type == "cuda":
                    torch.cuda.empty_cache()
    return [done[i] for i in range(len(requests))]


def check(model: Any, requests: Sequence[Request], mask_id: int) -> None:
    """Refuse what cannot be decoded before any work is done.

    Raises:
        LiftError: a prompt that is empty or too long for the model's context, nothing to infill, a suppressed
            id outside the vocabulary.
    """
    context = model.config.max_position_embeddings
    for i, request in enumerate(requests):
        added = request.end - len(request.ids)
        remedy = "infill a shorter text" if request.infill else "shorten the prompt or lower gen_length"
        excess_tokens(len(request.ids), added, context, before=f"prompt {i}", remedy=remedy)
        if request.infill and mask_id not in request.ids:
            raise LiftError(f"prompt {i} has no mask token (id {mask_id}); infill needs at least one")
        if request.infill and request.config.sub_block_length:
            raise LiftError(
                f"schedule={request.config.schedule!r} fills sub-blocks of masks only; infill with another"
            )
    for config in dict.fromkeys(request.config for request in requests):
        if len({*config.suppress_tokens, mask_id}) >= model.config.vocab_size:
            raise LiftError("suppress_tokens leaves no token that could be generated; suppress fewer")
        if wrong := [token for token in config.suppress_tokens if token >= model.config.vocab_size]:
            raise LiftError(
                f"suppress_tokens={wrong[0]} is outside the vocabulary of {model.config.vocab_size}; "
                "give ids of the model's tokenizer"
            )


def pools(requests: Sequence[Request], split: bool) -> Iterator[list[int]]:
    """Requests that may share a batch, longest first: the same cache, guided or not.

    With `split` also of similar length, since the longest decides how many a token budget admits.
    """
    kinds = [(request.config.cache, request.guided) for request in requests]
    for kind in dict.fromkeys(kinds):
        alike = [i for i in range(len(requests)) if kinds[i] == kind]
        alike.sort(key=lambda i: (-requests[i].length, requests[i].ids))  # the samples of a problem together
        while alike:
            shortest = 0.6 * requests[alike[0]].length if split else 0
            pool = [i for i in alike if requests[i].length >= shortest]
            yield pool
            alike = alike[len(pool) :]


def default_budget(model: Any) -> int:
    """Canvas columns that a pass may have: on a GPU what should fit in most of the free memory.

    A column takes its keys and values in every layer and some copies of the widest activations; where that
    is too little after all, `run` halves the batch.
    """
    if model.device.type != "cuda":
        return 8192
    free, _ = torch.cuda.mem_get_info(model.device)
    return max(1, int(0.7 * free) // ((cached(model) + activations(model)) * model.dtype.itemsize))


def cached(model: Any) -> int:
    """Numbers that a cache keeps of a column: keys and values in every layer; 0 if the model takes none."""
    layers, heads, size = getattr(model, "cache_shape", None) or (0, 0, 0)
    return 2 * layers * heads * size


def activations(model: Any) -> int:
    """Numbers that a pass holds of a column at a time, about: copies of its widest states."""
    config = model.config
    of_experts = 5 * getattr(config, "num_experts_per_tok", 0) * config.hidden_size  # copies of a token
    return 16 * config.hidden_size + 4 * config.intermediate_size + of_experts
