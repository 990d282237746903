"""Latency and throughput, measured in processes of their own: `puvae bench`."""

from puvae_rt._moved import renamed

_OLD = {name: f"puvae_rt.bench.command:{name}" for name in ("main", "parser")}
__getattr__ = renamed(__name__, _OLD)
