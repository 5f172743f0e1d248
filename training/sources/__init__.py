"""Training data: what a recipe's `data:` names, as `Record`s (docs/training-data.md). Imports no torch.

`records` is what an example is, `synthetic` generates some, `files` and `published` are where rows come from,
`formats` makes a record of a row, `loading` filters, counts and describes.
"""

from lift_harness.training.sources.loading import Data, load_data
from lift_harness.training.sources.records import Record, content_hash, stable_ids, validation_split

__all__ = ["Data", "Record", "content_hash", "load_data", "stable_ids", "validation_split"]
