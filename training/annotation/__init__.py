"""Priority spans from a language model, once and offline (arXiv 2603.15803, section 2.1). Imports no torch.

`rules` is what the model is asked and how its reply is read, `quotes` finds the reply's quotes in the answer,
`server` is what answers, `asking` asks many times at once, `replies` keeps what was answered, `run` does all
of it for a source of training data.
"""
