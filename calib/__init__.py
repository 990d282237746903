"""Cheaper models: thin layers in place of large ones, decided by activations."""

import puvae_rt  # noqa: F401  # switches usage reports off before ONNX Runtime is imported, and forwards old names
