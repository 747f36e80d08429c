"""SkipCLM: find the layers at which a decoder language model learns to translate."""
