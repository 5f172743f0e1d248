"""The stages of gpu.py: each a function of a `Bench`, run in a process of its own."""
