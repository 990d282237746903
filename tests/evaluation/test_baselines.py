"""Baselines that are kept beside the results: found there, half the bytes, the same answers."""

from __future__ import annotations

import json

import pytest
import torch

from puvae_rt.errors import CheckpointError
from puvae_rt.evaluation import baselines
from puvae_rt.evaluation.models import build
from puvae_rt.training.checkpoint import load_tensors, save_tensors
from tests.evaluation.conftest import Study

DEFENSES = ("adv_training", "pgd_training", "magnet", "defense_gan", "puvae_paper")
KEPT = {f"{defense}{'_a' if defense.endswith('training') else ''}.safetensors" for defense in DEFENSES}


def keep(study: Study) -> list[str]:
    models, kept = study.options.models, study.options.baselines
    return ["--dataset", study.dataset.name, "--runs", str(models), "--baselines", str(kept)]


def test_what_was_kept_is_evaluated_without_the_training(bars: Study, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.from_numpy(bars.dataset.test.batch(slice(0, 4))[0])
    folder, search = bars.options.folder(bars.dataset.name), bars.options.search
    trained = {d: build(folder, d, "A", 0, search, 0).defended(images) for d in DEFENSES}
    whole = {name: (bars.models / name).stat().st_size for name in KEPT}
    assert baselines.main([*keep(bars), "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["bytes"]
    assert sizes.keys() == KEPT
    for name, size in sizes.items():
        assert size < 0.6 * whole[name] or size < 5000, name  # a small file is mostly its header
        (bars.models / name).unlink()
    for defense in DEFENSES:
        system = build(folder, defense, "A", 0, search, 0)
        assert {p.dtype for p in system.defended.classifier.parameters()} == {torch.float32}
        torch.testing.assert_close(system.defended(images), trained[defense], rtol=0.02, atol=0.05)


def test_no_baseline_is_an_error(bars: Study, capsys: pytest.CaptureFixture[str]) -> None:
    for path in bars.models.glob("*.safetensors"):
        path.unlink()
    assert baselines.main(keep(bars)) == 2
    assert "bars: no baseline; train one with `puvae train-baselines`" in capsys.readouterr().err
    assert not bars.options.baselines.exists()


def test_weights_beyond_fp16_are_refused(bars: Study) -> None:
    path = bars.models / "magnet.safetensors"
    tensors, meta = load_tensors(path)
    name = min(tensors)
    save_tensors(path, tensors | {name: tensors[name] + 1e6}, meta)
    with pytest.raises(CheckpointError, match=rf"magnet.safetensors: {name} does not fit FP16, expected .* 65,504"):
        baselines.keep_baselines(bars.options.models, "bars", bars.options.baselines)
    assert not (bars.options.baselines / "bars" / "magnet.safetensors").exists()
