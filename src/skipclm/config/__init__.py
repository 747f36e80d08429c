"""The configuration: its schema, its checks, and which runs it asks for."""
