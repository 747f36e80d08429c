"""Translations, their metrics and their errors."""
