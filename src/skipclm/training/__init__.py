"""The base model and the fine-tuning of runs."""
