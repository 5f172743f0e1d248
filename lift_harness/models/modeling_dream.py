"""Dream (Ye et al. 2025, arXiv 2508.15487): a bidirectional Qwen2.

Parameter names are those of the official checkpoints (`model.layers.N.self_attn.q_proj.weight` and so on).
The token at position i is predicted at i - 1 (`logit_shift = 1`), as in the autoregressive model that Dream
began from.
"""

from __future__ import annotations

from lift_harness.models.backbone import BackboneLM
from lift_harness.models.configuration_dream import DreamConfig


class DreamModel(BackboneLM):
    """Dream with its output projection; loads and saves the official format."""

    config_class = DreamConfig
    logit_shift = 1
