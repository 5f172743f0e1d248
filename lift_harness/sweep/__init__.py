"""`lift-harness sweep`: one or several models under many decoding settings, on the same problems."""
