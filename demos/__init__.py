"""Things to see: live video under attack, and what it is made of (`demos.play`)."""

import puvae_rt  # noqa: F401  # switches usage reports off, before ONNX Runtime is imported
