"""The doctor's findings."""

from __future__ import annotations

from dataclasses import dataclass

from puvae_rt.runtime.bundle import HOST


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether it serves; None where it is told for information only.
        found: what is there, in words.
        remedy: how to get what is missing.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All of them.

    Attributes:
        checks: in the order in which they depend on each other.
        ready: targets that run on this machine now.
        evidence: "measured", or "emulated" when the GPU is not real.
    """

    checks: tuple[Check, ...]
    ready: tuple[str, ...]
    evidence: str

    @property
    def gpu_ready(self) -> bool:
        """Whether a GPU target runs on this machine now."""
        return any(target not in HOST for target in self.ready)
