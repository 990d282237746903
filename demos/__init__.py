import puvae_rt  # noqa: F401  # switches usage reports off, before ONNX Runtime is imported
