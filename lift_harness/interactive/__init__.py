"""`lift-harness generate` and `lift-harness chat`: one model, one reader.

`session` turns messages into an answer, `canvas` shows a text while it is decoded, `generate` and `chat` are
the commands.
"""
