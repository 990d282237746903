"""The accuracy of the models that ship, taken out of results/defense.json and stored beside them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.cells import CW, FGSM, IFGSM, NONE, PUVAE_OURS, RAND_FGSM
from puvae_rt.evaluation.results import DEFENSE_FILE, Row, read_rows
from puvae_rt.runtime.assets import ASSETS, WEIGHTS_FILE, ShippedModel, shipped, shipped_names
from puvae_rt.runtime.catalog import CLEAN, short_hash

ATTACKS = (FGSM, IFGSM, RAND_FGSM, CW)


def accuracies(results: Path, assets: Path = ASSETS) -> dict[str, Any]:
    """What accuracy.json holds: for each model that ships, its default classifier alone and behind the purifier.

    Args:
        results: the folder of defense.json.
        assets: the folder of the models.
    Raises:
        ResultsError: damaged results, or none of the files that ship; `puvae evaluate` measures them.
    """
    rows = read_rows(results / DEFENSE_FILE)
    return {"models": {name: _of(shipped(name, assets), rows) for name in shipped_names(assets)}}


def _of(model: ShippedModel, rows: Iterable[Row]) -> dict[str, Any]:
    classifier = model.default_classifier
    weights, hash_of_classifier = short_hash(model, WEIGHTS_FILE), short_hash(model, f"{classifier}.onnx")
    wanted = {
        NONE: {classifier: hash_of_classifier},
        PUVAE_OURS: {classifier: hash_of_classifier, PUVAE_OURS: weights},
    }
    mine = [
        row
        for row in rows
        if row["dataset"] == model.model and row.get("weights") == wanted.get(row["defense"]) and _deployed(row)
    ]
    shares = {defense: _shares([row for row in mine if row["defense"] == defense]) for defense in wanted}
    if missing := [name for name in (CLEAN, *ATTACKS) if any(name not in each for each in shares.values())]:
        raise ResultsError(
            f"{model.model}: nothing measured of {', '.join(missing)} with the files that ship; run `puvae evaluate "
            f"--dataset {model.model} --defense none puvae_ours`"
        )
    return {
        "weights": weights,
        "classifier": hash_of_classifier,
        "images": min(row["n"] for row in mine),
        "epsilon": max(row["epsilon"] or 0.0 for row in mine),
        "undefended": shares[NONE],
        "purified": shares[PUVAE_OURS],
    }


def _deployed(row: Row) -> bool:
    """Whether the purifier drew no noise and refined nothing, as it is deployed."""
    settings = row.get("settings", {})
    return not settings.get("sigma_eps") and not settings.get("refine")


def _shares(rows: Iterable[Row]) -> dict[str, float]:
    """The lowest accuracy under each attack, be it targeted or not."""
    shares: dict[str, float] = {}
    for row in rows:
        name = CLEAN if row["attack"] == NONE else row["attack"]
        shares[name] = min(row["accuracy"], shares.get(name, 1.0))
    return {name: shares[name] for name in (CLEAN, *ATTACKS) if name in shares}
