import puvae_rt  # noqa: F401  # forwards old names below here, and switches usage reports off before ONNX Runtime is imported
