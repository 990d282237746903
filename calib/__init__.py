"""Cheaper models: thin layers in place of large ones, decided by activations."""
