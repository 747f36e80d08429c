"""From text to batches: sources, cleaning, splits, encoding."""
