"""What an ONNX file of ours says about itself, as JSON in its metadata under the key "puvae"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from puvae_rt.contract import ImageContract, Score
from puvae_rt.errors import BuildError
from puvae_rt.graph.passes import exact_passes
from puvae_rt.graph.passes.cpu import CPU
from puvae_rt.runtime.fields import Fields, read_classes, read_contract, read_score

META_KEY = "puvae"
FORMAT = 1
_REMEDY = "give an .onnx that export.build or export.assets wrote, or a .safetensors of weights"


@dataclass(frozen=True)
class Description:
    model: str
    classes: tuple[str, ...]
    contract: ImageContract
    score: Score
    sigma: float  # scale of the sampling noise; 0 is deterministic
    passes: tuple[str, ...]  # already applied, the exact ones or those and a target's; () is none

    def to_metadata(self) -> dict[str, str]:
        document = {"format": FORMAT, "kind": "puvae", **asdict(self)}
        document["contract"]["range"] = [0, 1]
        return {META_KEY: json.dumps(document, sort_keys=True)}

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> Description:
        if META_KEY not in metadata:
            raise BuildError(f"{where}: no {META_KEY!r} metadata; {_REMEDY}")
        fields = Fields(json.loads(metadata[META_KEY]), f"{where}: {META_KEY}", _REMEDY)
        if (got := fields.integer("format")) != FORMAT:
            raise BuildError(f"{where}: format {got}, this version reads {FORMAT}; {_REMEDY}")
        fields.text("kind", ("puvae",))
        description = Description(
            model=fields.name("model"),
            classes=read_classes(fields),
            contract=read_contract(fields.child("contract")),
            score=read_score(fields.child("score")),
            sigma=fields.number("sigma"),
            passes=fields.texts("passes"),
        )
        exact = exact_passes(description.score, description.sigma)
        if description.passes not in ((), exact, (*exact, *CPU)):
            raise BuildError(f"{where}: passes {description.passes}, expected none or {exact}; {_REMEDY}")
        return description
