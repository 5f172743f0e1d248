"""Decoding of masked diffusion language models: `generate(model, prompts, DecodingConfig(...), ...)`."""

from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.engine import Generation, generate

__all__ = ["DecodingConfig", "Generation", "generate"]
