"""`lift-harness analyze`: how sure a model is of rare and of frequent tokens, by diffusion time.

The measurement behind LIFT (arXiv 2605.22939, section 4). `examples` is the data, `passes` the model, `sums`
what is kept of them, `trend` what is concluded; `run` puts them together (docs/analysis.md).
"""
