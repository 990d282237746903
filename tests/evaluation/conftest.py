from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from puvae_rt.data import Dataset
from puvae_rt.defenses.defense_gan import Search
from puvae_rt.evaluation.run import Options
from tests.evaluation import study


class Study(NamedTuple):
    folder: Path
    dataset: Dataset
    options: Options

    @property
    def models(self) -> Path:
        return self.options.models / self.dataset.name


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    folder = tmp_path_factory.mktemp("study")
    return folder, study.make(folder)


@pytest.fixture
def bars(made: tuple[Path, Dataset], tmp_path: Path) -> Study:
    """The study in a folder of this test's own."""
    folder, dataset = made
    shutil.copytree(folder, tmp_path / "study")
    quick = Search(steps=2, restarts=2)
    return Study(
        tmp_path / "study",
        dataset,
        Options(
            tmp_path / "study" / "runs",
            tmp_path / "results",
            n=20,
            n_defense_gan=4,
            search=quick,
            baselines=tmp_path / "kept",
        ),
    )
