"""Small random models with blocks, and their float64 reference (`families_reference`)."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from support.families_reference import MASK, Reference, write_family

BLOCK = 8


def write_blocks(folder: Path, family: str, tokenizer=None) -> Path:
    """A random checkpoint of a family whose blocks have `BLOCK` columns."""
    key = "bd_size" if family == "fast-dllm" else "block_size"
    return write_family(folder, family, tokenizer, **{key: BLOCK}, max_position_embeddings=512)


def load_blocks(folder: Path):
    """Its model, in eval mode, float32."""
    from lift_harness.models.families import family_of

    config = json.loads((folder / "config.json").read_text())
    return family_of(config).from_pretrained(folder).eval()


class BlockReference:
    """`reference(ids)`: logits float64 [L, V] of one row of a model with blocks."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text()) | {"mask_token_id": MASK}
        self.logits = Reference(self.config, load_file(folder / "model.safetensors"))

    def __call__(self, ids) -> np.ndarray:
        return self.logits(ids, BLOCK)
