"""What an ONNX file of ours says about itself, as JSON in its metadata under the key "puvae"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BuildError
from puvae_rt.graph.passes import exact_passes
from puvae_rt.graph.passes.cpu import CPU
from puvae_rt.graph.passes.shortlist import SHORTLIST
from puvae_rt.models.header import FORMAT, META_KEY, PUVAE, Shortlist, check_kind, require_shortlist
from puvae_rt.schema import Classes, Name, NonNegative, Texts, decode, parse

_REMEDY = "give an .onnx that `puvae build` or `puvae pack` wrote, or a .safetensors of weights"


@dataclass(frozen=True)
class Description:
    """A PuVAE's graph: what it takes, how it chooses, and what was done to it.

    ContractError for a shortlist of more classes than there are.
    """

    model: Name
    classes: Classes
    contract: ImageContract
    score: Score
    sigma: NonNegative  # scale of the sampling noise; 0 is deterministic
    passes: Texts  # already applied, the exact ones or those and a target's; () is none
    # How many classes an engine decodes, those that the prior ranks first: this graph, where `passes` has the pass of
    # this name. None is all.
    shortlist: Shortlist | None = None

    def __post_init__(self) -> None:
        if self.shortlist is not None:
            require_shortlist(self.shortlist, len(self.classes))

    def to_metadata(self) -> dict[str, str]:
        """The description as an ONNX file's metadata."""
        document = {"format": FORMAT, "kind": PUVAE, **asdict(self)}
        return {META_KEY: json.dumps(document, sort_keys=True)}

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> Description:
        """The checked description; BuildError when it is absent, damaged or of another version."""
        if META_KEY not in metadata:
            raise BuildError(f"{where}: no {META_KEY!r} metadata; {_REMEDY}")
        where = f"{where}: {META_KEY}"
        document = parse(metadata[META_KEY], where, _REMEDY, BuildError)
        check_kind(document, PUVAE, where, _REMEDY, BuildError)
        description = decode(document, Description, where, _REMEDY, BuildError)
        exact = exact_passes(description.score, description.sigma)
        listing = () if description.shortlist is None else (SHORTLIST,)
        if description.passes not in ((), exact, (*exact, *listing, *CPU)):
            raise BuildError(f"{where}: passes {description.passes}, expected none or {exact}; {_REMEDY}")
        return description
