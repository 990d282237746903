"""The exact passes held against the straightforward graph on real images, at every build that is verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.quality import NOISE_SEED
from export.samples import Samples
from export.source import SourceModel
from puvae_rt.contract import CANDIDATES, IMAGE, NOISE
from puvae_rt.errors import BuildError
from puvae_rt.graph.graph import Graph
from puvae_rt.graph.passes import EXACT_TOLERANCE
from puvae_rt.graph.selection import stop_at_candidates
from puvae_rt.models.spec import LATENT
from puvae_rt.runtime.machine import available_cpus
from puvae_rt.runtime.session import open_session

PROOF_IMAGES = 2  # of each set: the straightforward graph takes K times the work

Feed = Mapping[str, npt.NDArray[Any]]


def prove_exact(source: SourceModel, samples: Samples) -> float | None:
    """The largest difference of any candidate's pixel; None when the straightforward graph is not known.

    Raises:
        BuildError: it exceeds EXACT_TOLERANCE, or is NaN.
    """
    if source.plain is None:
        return None
    images = np.concatenate([images[:PROOF_IMAGES] for images in samples.sets.values()])
    model = source.description
    feed = {IMAGE: np.divide(images, 255, dtype=np.float32)}
    if model.sigma > 0:
        shape = (len(images), len(model.classes), LATENT)
        feed[NOISE] = np.random.default_rng(NOISE_SEED).standard_normal(shape, np.float32)
    plain, exact = (
        _candidates(name, stop_at_candidates(graph, model.contract, model.score, len(model.classes)), feed)
        for name, graph in (("the straightforward graph", source.plain), ("the exact graph", source.exact))
    )
    error = float(np.abs(plain - exact).max())
    if not error <= EXACT_TOLERANCE:
        raise BuildError(
            f"the exact passes moved a candidate's pixel by {error:.2g}, expected at most {EXACT_TOLERANCE:g}; "
            "report this model, and build with --passes none"
        )
    return error


def _candidates(name: str, graph: Graph, feed: Feed) -> npt.NDArray[np.float32]:
    model = graph.to_model().SerializeToString()
    return open_session(model, available_cpus(), name=name).run((CANDIDATES,), feed)[0]
