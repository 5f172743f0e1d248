"""Experiments: recipes, and all that knows them; `train_eval` does one from its recipe to its report."""
