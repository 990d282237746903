"""The compiled networks of one model, and what the kernels around them need to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from puvae_rt.contract import CANDIDATES, NOISE, ImageContract, Score
from puvae_rt.gpu.compiled import CompiledEngine
from puvae_rt.gpu.memory import Field
from puvae_rt.gpu.tensors import check_signature, input_fields, output_fields


@dataclass(frozen=True)
class Engines:
    """A purifier's engine, and the classifier's behind it.

    Attributes:
        purifier: `image` (and `noise`) -> `candidates` (and `bias`, and `classes` where a shortlist chose them).
        contract: the images' shape.
        classes: K.
        score: what the purifier was built for.
        classifier: `image` -> `logits`, or None.
        shortlist: how many classes of an image the purifier decodes; None is all K.
    Raises:
        BundleError: their tensors are not those of the model.
    """

    purifier: CompiledEngine
    contract: ImageContract
    classes: int
    score: Score
    classifier: CompiledEngine | None = None
    shortlist: int | None = None

    def __post_init__(self) -> None:
        check_signature(self.purifier, self.contract, self.classes, self.score, self.classifier, self.shortlist)

    @property
    def decoded(self) -> int:
        """Candidates of an image: m of the shortlist, or K."""
        return self.classes if self.shortlist is None else self.shortlist

    @cached_property
    def takes_noise(self) -> bool:
        """Whether the purifier samples: built with sigma > 0."""
        return NOISE in self.purifier.signature.inputs

    @cached_property
    def candidates_dtype(self) -> np.dtype[np.generic]:
        """float16 or float32."""
        return self.purifier.signature.dtype(CANDIDATES)

    @cached_property
    def min_batch(self) -> int:
        """Smallest batch that both engines take; a smaller call runs on more images than it has."""
        return max(engine.signature.min_batch for engine in self._both)

    @cached_property
    def max_batch(self) -> int:
        """Largest batch per call: the smaller limit of the purifier's and the classifier's engine."""
        return min(engine.signature.max_batch for engine in self._both)

    @cached_property
    def inputs(self) -> tuple[Field, ...]:
        """What a batch brings."""
        return input_fields(self.contract, self.classes, self.takes_noise)

    @cached_property
    def outputs(self) -> tuple[Field, ...]:
        """What a batch gives."""
        return output_fields(self.contract, self.classes, self.classifier is not None)

    @property
    def _both(self) -> tuple[CompiledEngine, ...]:
        return (self.purifier,) if self.classifier is None else (self.purifier, self.classifier)

    def close(self) -> None:
        """Frees both; executions keep what they need."""
        for engine in self._both:
            engine.close()
