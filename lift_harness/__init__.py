"""Masked diffusion language models in lm-evaluation-harness: decode, evaluate, train, compare.

Every Python process imports this module at start-up (see `plugin.startup`), so it imports nothing.
"""

__version__ = "0.1.0"
