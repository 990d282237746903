"""Certified radii: held to what is known in closed form, and as results."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from puvae_rt.errors import ContractError, ResultsError
from puvae_rt.evaluation.certificate import certified_radius, certify, evaluate_certificate
from puvae_rt.evaluation.effort import Smoothing
from puvae_rt.evaluation.results import CERTIFICATE_FILE, read_rows, write_rows
from puvae_rt.evaluation.robust_tables import certificate_table, certified_share
from puvae_rt.evaluation.timing import Deployed
from tests.evaluation.conftest import Study
from tests.runtime import toy

SMOOTHING = Smoothing(sigmas=(0.05, 0.1), choosing=20, copies=60)


def halves(distance: float) -> tuple[Tensor, object]:
    """An image, and a classifier by a plane that lies `distance` from it: its smoothed radius is known exactly."""
    image = torch.full((1, 4, 4), 0.5)
    normal = torch.full((16,), 0.25)  # of length 1

    def answer(x: Tensor) -> Tensor:
        side = (x.flatten(1) - image.flatten()) @ normal + distance
        return torch.stack([side, -side], dim=1)

    return image, answer


@pytest.mark.parametrize("distance", [0.02, 0.05, 0.09])
def test_a_plane_is_certified_to_nearly_its_distance_and_never_beyond(distance: float) -> None:
    image, answer = halves(distance)
    smoothing = Smoothing(copies=4000)
    chosen, radius = certify(answer, image, smoothing, 0.05, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert chosen == 0
    assert 0.7 * distance < radius <= distance


def test_a_coin_is_not_certified() -> None:
    image, answer = halves(0.0)
    assert certify(answer, image, Smoothing(), 0.05, torch.Generator().manual_seed(0))[1] == 0  # type: ignore[arg-type]


def test_the_bound_is_clopper_and_pearsons() -> None:
    everything = certified_radius(1000, 1000, 0.25, 0.001)
    assert everything == pytest.approx(0.25 * NormalDist().inv_cdf(0.001 ** (1 / 1000)))  # p^n = alpha
    assert certified_radius(0, 1000, 0.25, 0.001) == certified_radius(500, 1000, 0.25, 0.001) == 0
    assert certified_radius(900, 1000, 0.25, 0.001) < certified_radius(950, 1000, 0.25, 0.001) < everything
    assert certified_radius(100_000, 100_000, 0.25, 0.001) > everything, "more copies prove more"


def test_rows_are_measured_once_and_tabled(bars: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUVAE_CACHE", str(tmp_path / "cache"))
    deployed, told = Deployed(str(toy.save_bundle(tmp_path / "bundle")), threads=1), list[str]()
    options = bars.options._replace(n=4)
    common = (bars.dataset, ["A"], ["none", "puvae_ours"], deployed, SMOOTHING, options)
    rows = evaluate_certificate(*common, told.append)
    assert [(row["defense"], row["sigma"]) for row in rows] == [
        (d, s) for d in ("none", "puvae_ours") for s in SMOOTHING.sigmas
    ]
    assert [bool(row["settings"].get("engine")) for row in rows] == [False, False, True, True]
    assert all(len(row["radii"]) == 4 and max(row["radii"]) < 5 * row["sigma"] for row in rows)
    assert certified_share(rows[0], 0) > 0.5 and "abstained" in told[0]
    assert evaluate_certificate(*common, told.append) == rows == read_rows(options.results / CERTIFICATE_FILE)
    table = certificate_table(rows)
    assert len(table.split("\n\n")[0].splitlines()) == 2 + len(rows) and "L2 > 0.25" in table


def test_damaged_rows_and_other_defenses_are_refused(bars: Study, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="defense_gan"):
        evaluate_certificate(bars.dataset, ["A"], ["defense_gan"], None, SMOOTHING, bars.options, print)
    options = bars.options._replace(n=2)
    rows = evaluate_certificate(bars.dataset, ["A"], ["none"], None, SMOOTHING, options, lambda _: None)
    write_rows(tmp_path / CERTIFICATE_FILE, [rows[0] | {"radii": [0.1]}])
    with pytest.raises(ResultsError, match="radii: got 1, expected 2"):
        read_rows(tmp_path / CERTIFICATE_FILE)
