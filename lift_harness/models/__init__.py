"""Native masked diffusion language models: `load_model(name) -> (model, tokenizer)`."""

from lift_harness.models.loading import load_model

__all__ = ["load_model"]
