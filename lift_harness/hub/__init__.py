"""Sharing what was trained: its card, and the way to the Hub."""
