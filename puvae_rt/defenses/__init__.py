"""Defenses: each is a model that wraps a model (see `protocol`)."""
