"""More images than one machine holds: folders, tables, archives and videos, purified here or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from puvae_rt._lazy import lazily
from puvae_rt.cli.entry import forward

if TYPE_CHECKING:
    from puvae_rt.purify.batch import PurifyBatch

__all__ = ["PurifyBatch", "main", "parser"]

main, parser = forward(__name__, "purify")

__getattr__ = lazily(__name__, {"PurifyBatch": "puvae_rt.purify.batch"})
