"""The former place of `puvae_rt.data.download`; it forwards until 0.3."""

import warnings
from typing import Any

from puvae_rt.data import download as _moved


def __getattr__(name: str) -> Any:
    value = getattr(_moved, name)
    warnings.warn(
        "puvae_rt.download moved to puvae_rt.data.download; the old path goes in 0.3", DeprecationWarning, stacklevel=2
    )
    return value
