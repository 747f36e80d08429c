"""The skip connection, access to the parts of decoders, and loading and saving of models."""
