"""From weights to a verified bundle: `puvae build` and `puvae verify`, and the tools round them."""

import puvae_rt  # noqa: F401  # switches usage reports off before ONNX Runtime is imported, and forwards old names
