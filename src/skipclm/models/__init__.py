"""The skip connection around any decoder, and how models are loaded and saved."""
