"""`python -m puvae_rt.train` on a tiny dataset: all stages, files, resume, refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.files import sha256_of
from puvae_rt.train import main
from puvae_rt.training.artefacts import load_classifier, load_puvae

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 28x28 images: dark and light."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    labels = np.tile([0, 1], 100)
    images = (rng.integers(0, 100, (200, 28, 28)) + 120 * labels[:, None, None]).astype(np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    return path


def command(data: Path, out: Path, *more: str) -> list[str]:
    base = ["--dataset", "tiny", "--data", str(data), "--runs", str(out), "--epochs", "1", "--classifier-epochs", "1"]
    return [*base, "--mini-batch", "16", "--classifiers", "A", *more]


def test_a_dataset_of_ones_own_is_trained_to_the_end(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary["results"]) == {"source", "classifier_a", "puvae_ours"}
    folder = tmp_path / "tiny"
    assert load_classifier(folder / "classifier_a.safetensors")[1]["architecture"] == "A"
    _, meta = load_puvae(folder / "puvae_ours.safetensors")
    assert meta["recipe"]["name"] == "ours" and meta["schedule"]["epochs"] == 1
    assert (folder / "puvae_ours.png").stat().st_size > 0
    assert main(command(data, tmp_path)) == 0, "finished stages are read back"
    assert main(command(data, tmp_path, "--recipe", "paper")) == 0
    assert main([*command(data, tmp_path)[:-6], "--epochs", "2", "--mini-batch", "16", "--classifiers", "A"]) == 2
    assert "other schedule" in capsys.readouterr().err


def test_contrast_is_normalised_where_asked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thin = ["--ranks", "4", "5", "6", "--replays", "1"]
    assert main(command(data, tmp_path, *thin, "--normalized")) == 0
    model, meta = load_puvae(tmp_path / "tiny" / "puvae_ours_low_rank.safetensors")
    assert model.normalized and meta["normalized"] is True and meta["schedule"]["replays"] == 1
    assert main(command(data, tmp_path, *thin)) == 2
    assert "other normalized" in capsys.readouterr().err
    assert main(command(data, tmp_path, "--replays", "0")) == 2
    assert "--replays 0: expected at least 1" in capsys.readouterr().err


def test_source_and_ranking_may_weigh_more(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thin = ["--ranks", "4", "5", "6", "--replays", "1"]
    assert main(command(data, tmp_path, *thin, "--source-weight", "100", "--ranking-weight", "3")) == 0
    recipe = load_puvae(tmp_path / "tiny" / "puvae_ours_low_rank.safetensors")[1]["recipe"]
    assert (recipe["source"], recipe["ranking"]) == (100, 3)
    assert main(command(data, tmp_path, *thin)) == 2
    assert "other recipe" in capsys.readouterr().err
    for bad in ("-1", "nan", "inf"):
        assert main(command(data, tmp_path / "bad", *thin, "--source-weight", bad)) == 2
        assert not (tmp_path / "bad").exists(), "nothing is trained before"
        assert f"--source-weight {bad}: expected" in capsys.readouterr().err


def test_trained_weights_are_gone_on_from(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thin = ["--ranks", "4", "5", "6", "--replays", "1"]
    assert main(command(data, tmp_path / "first", *thin)) == 0
    first = tmp_path / "first" / "tiny" / "puvae_ours_low_rank.safetensors"
    more = ["--init", str(first), "--replays", "1", "--learning-rate", "1e-9", "--augment-source"]
    assert main(command(data, tmp_path / "second", *more)) == 0
    second = tmp_path / "second" / "tiny" / "puvae_ours_low_rank.safetensors"
    (old, _), (new, meta) = load_puvae(first), load_puvae(second)
    assert meta["recipe"]["augmented_source"] is True and meta["init"] == sha256_of(first) and new.ranks == (4, 5, 6)
    moved = [(a - b).abs().max().item() for a, b in zip(old.parameters(), new.parameters(), strict=True)]
    assert 0 < max(moved) < 1e-6, "it started from these weights, and barely left them at such a rate"
    assert main(command(data, tmp_path / "second", *more[:-1])) == 2
    assert "other recipe" in capsys.readouterr().err


def test_initial_weights_have_to_fit(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, tmp_path, "--init", "mnist")) == 2
    assert "10 classes (0, 1, 2, ...); expected 1x28x28 images of 2 classes (0, 1)" in capsys.readouterr().err
    assert main(command(data, tmp_path, "--init", str(tmp_path / "absent.safetensors"))) == 2
    assert "absent.safetensors" in capsys.readouterr().err
    assert main(command(data, tmp_path, "--init", "mnist", "--normalized")) == 2
    assert "leave --ranks, --normalized out" in capsys.readouterr().err
    assert not (tmp_path / "tiny").exists(), "nothing is trained before"


def test_low_rank_from_the_start(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(data, tmp_path, "--ranks", "4", "5", "6", "--precision", "bf16")) == 0
    _, meta = load_puvae(tmp_path / "tiny" / "puvae_ours_low_rank.safetensors")
    assert meta["ranks"] == {"fc1": 4, "fc2": 5, "trunk": 6} and meta["schedule"]["bf16"] is True
    assert main(command(data, tmp_path, "--ranks", "4", "5", "7", "--bf16")) == 2
    assert "other ranks" in capsys.readouterr().err
    assert main(command(data, tmp_path, "--ranks", "0", "5", "7")) == 2
    assert "--ranks 0: expected at least 1" in capsys.readouterr().err
