"""What the scores of many runs say: the choice of layers, significance, summaries."""
