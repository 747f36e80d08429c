"""The built-in corpus: a grammar of four languages."""
