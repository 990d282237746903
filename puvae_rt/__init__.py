"""Real-time adversarial purification: a conditional VAE between a camera and a classifier.

from puvae_rt import Purifier
with Purifier.load("mnist") as purifier:
    purified = purifier.purify(images)          # a batch
    result = purifier(frame, roi=(x, y, w, h))  # one camera frame
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from puvae_rt import _moved, usage_reports
from puvae_rt._lazy import lazily
from puvae_rt.version import __version__

if TYPE_CHECKING:
    from puvae_rt.runtime.catalog import shipped_models
    from puvae_rt.runtime.purifier import Purifier
    from puvae_rt.runtime.results import Purified, Result

__all__ = ["Purified", "Purifier", "Result", "__version__", "shipped_models"]

_HOMES = {
    "Purifier": "puvae_rt.runtime.purifier",
    "Purified": "puvae_rt.runtime.results",
    "Result": "puvae_rt.runtime.results",
    "shipped_models": "puvae_rt.runtime.catalog",
}

usage_reports.switch_off()
_moved.install()

__getattr__ = lazily(__name__, _HOMES)  # training must not need ONNX Runtime, nor the runtime PyTorch


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
