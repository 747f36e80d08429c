"""What an experiment costs, how far it is, and where a score comes from."""
