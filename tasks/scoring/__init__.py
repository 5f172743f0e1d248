"""What an answer is worth: one module a benchmark (docs/scoring.md)."""
