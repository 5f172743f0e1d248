"""Running generated programs where they can do no harm (docs/sandbox.md)."""
