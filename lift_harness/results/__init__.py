"""What a run left on disk, read once: its layout, results files, sample logs, and their statistics."""
