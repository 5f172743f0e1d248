"""Decoding of masked diffusion language models: `generate(model, prompts, DecodingConfig(...), ...)`."""

from lift_harness.decoding.batching import generate, run
from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.request import Generation, Request
from lift_harness.decoding.resolve import settings_for

__all__ = ["DecodingConfig", "Generation", "Request", "generate", "run", "settings_for"]
