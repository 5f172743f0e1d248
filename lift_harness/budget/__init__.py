"""What a training or an evaluation takes of a machine, computed from shapes alone: memory, operations, hours.

`shape` reads a model's numbers, `memory` and `operations` count, `machines` has the cards, and `verdict` says
whether it fits and for how long.
"""
