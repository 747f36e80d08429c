"""Analysis of the scores: selection of layers, tests of significance and summaries."""
