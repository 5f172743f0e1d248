"""Decoding of masked diffusion language models: `generate(model, prompts, DecodingConfig(...), ...)`."""

from lift_harness.decoding.batching import generate, run
from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.request import Generation, Request

__all__ = ["DecodingConfig", "Generation", "Request", "generate", "run"]
