"""The published decoding loops, as slow as they are published: what `decode.py` compares with.

Written from the papers and the published code's behaviour (LLaDA `generate`; Fast-dLLM with prefix and dual
cache; LLaDA2 `generate`): one request at a time, logits over every computed column at every step.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor


class GrowingCache:
    """Keys and values of the block's first pass, put before (prefix) or around (dual) the new ones."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.recording, self.place = True, slice(0, 0)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """As `models.KeyValueCache`."""
        if self.recording:
            self.kept[layer] = key, value
            return key, value
        key, value = (
            torch.cat((kept[:, :, : self.place.start], new, kept[:, :, self.place.stop :]), 2)
            for kept, new in zip(self.kept[layer], (key, value), strict=True)
        )
        return key, value


@torch.inference_mode()
def plain(model: Any, prompt: list[int], config: Any, mask_id: int, counts: Counter[str]) -> list[int]:
    """The tokens of one request under `fixed` or `threshold`, cache none, prefix or dual, temperature 0.

    Softmax in float64, over every computed column.
    """
    ids = torch.tensor([[*prompt, *[mask_id] * config.gen_length]], device=model.device)
    per_block = config.steps // config.blocks
    for start in range(len(prompt), ids.shape[1], config.block_length):
        end, step, cache = start + config.block_length, 0, None
        while (ids[:, start:end] == mask_id).any():
            first, last = 0, ids.shape[1]
            if config.cache in ("prefix", "dual"):
                if step == 0:
                    cache = GrowingCache()
                else:
                    first, last = start, end if config.cache == "dual" else last
                    cache.recording, cache.place = False, slice(first, last)
            position = torch.arange(first, last, device=ids.device)[None]
            window = ids[:, first:last]
            hidden = model.hidden_states(window, None, position, cache=cache)
            counts.update(calls=1, canvases=1, columns=last - first, projected=last - first)
            logits = model.logits_at(hidden)  # [1, S, V]: every computed column
            token = logits.argmax(-1)
            p = torch.softmax(logits.to(torch.float64), dim=-1).gather(-1, token[:, :, None])[:, :, 0]
            masked = window == mask_id
            column = torch.arange(first, last, device=ids.device)
            masked &= (column >= start) & (column < end)
            sure = torch.where(masked, p, -torch.inf)[0]
            if config.schedule == "threshold":
                k = max(1, int((sure >= config.threshold).sum()))
            else:
                k = config.block_length // per_block + (step < config.block_length % per_block)
            chosen = sure.topk(k).indices
            ids[0, first + chosen] = token[0, chosen]
            step += 1
    return ids[0, len(prompt) :].tolist()


@torch.inference_mode()
def plain_blocks(model: Any, prompt: list[int], config: Any, mask_id: int, counts: Counter[str]) -> list[int]:
    """The tokens of one request to a model with blocks, under `llada2` at temperature 0.

    Every pass computes all up to the end of the block. Softmax in float32, over the block.
    """
    size, end = config.block_length, len(prompt) + config.gen_length
    ids = torch.full((1, -(-end // size) * size), mask_id, device=model.device)
    ids[0, : len(prompt)] = torch.tensor(prompt)
    each, more = divmod(size, config.steps // config.blocks)
    for start in range(len(prompt) // size * size, ids.shape[1], size):
        here, step = slice(start, start + size), 0
        while (ids[0, here] == mask_id).any():
            hidden = model.hidden_states(ids[:, : start + size])
            counts.update(calls=1, canvases=1, columns=start + size, projected=start + size)
            logits = model.logits_at(hidden)[0, here]  # of every computed column
            sure, token = logits.float().softmax(-1).max(-1)
            sure = torch.where(ids[0, here] == mask_id, sure, -torch.inf)
            above = sure > config.threshold
            least = min(each + (step < more), int((sure > -torch.inf).sum()))
            chosen = above.nonzero()[:, 0] if above.sum() >= least else sure.topk(least).indices
            ids[0, start + chosen] = token[chosen]
            step += 1
    return ids[0, len(prompt) : end].tolist()
