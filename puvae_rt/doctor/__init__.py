"""What `python -m puvae_rt.doctor` looks at."""

from puvae_rt._moved import renamed

_OLD = {name: f"puvae_rt.doctor.command:{name}" for name in ("main", "parser")}
__getattr__ = renamed(__name__, _OLD)
