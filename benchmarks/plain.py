"""The published decoding loops, as slow as they are published: what `decode.py` compares with.

Written from the papers and the published code's behaviour (LLaDA `generate`; Fast-dLLM with prefix and dual
cache): one request at a time, logits over every computed column at every step, softmax in float64.
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
    """The tokens of one request under `fixed` or `threshold`, cache none, prefix or dual, temperature 0."""
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
