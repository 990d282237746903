"""The stages themselves, on the emulated device: what they measure is what they say, and all of them run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.contract import CLASSIFIER_FILE, ENGINE_ONNX_FILE
from puvae_rt.device import Device
from puvae_rt.gpu.stand_in import StandIn
from puvae_rt.gpu.tensorrt.build import SerializedEngine
from puvae_rt.runtime.assets import shipped_names
from tests import tolerances
from tests.gpu_day import prepare, sheet
from tests.gpu_day.__main__ import main
from tests.gpu_day.plan import EMULATED, PREPARED_FILE, RESULTS_FILE, STAGES
from tests.gpu_day.stage import Day, Skipped, perform

torch = pytest.importorskip("torch")
from puvae_rt.contract import ImageContract  # noqa: E402
from puvae_rt.defenses.defense_gan import DefenseGan  # noqa: E402
from puvae_rt.defenses.gan_search import Search  # noqa: E402
from puvae_rt.models.puvae import PuVAE  # noqa: E402
from puvae_rt.training.artefacts import load_generator  # noqa: E402
from tests.gpu_day.stages import straightforward, tensorrt8, tensorrt8_worker  # noqa: E402
from tests.gpu_day.stages.race import WEIGHTS, Descent  # noqa: E402


def prepared(to: Path, monkeypatch: pytest.MonkeyPatch, *models: str) -> int:
    """Without what takes long, or a network: nvcc and wheels."""
    monkeypatch.setattr(prepare, "_compile", lambda *_: [])
    return main(["prepare", "--models", *models, "--images", "8", "--no-wheels", "--to", str(to)])


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    """MNIST's bundle and images, made as on the GPU's machine."""
    prepared(tmp_path / "carried", monkeypatch, "mnist")
    day = Day(EMULATED, ("mnist",), tmp_path / "carried", tmp_path / "work", tmp_path / "found.json")
    perform("bundles", day)
    return day


def test_what_is_prepared_fits_and_says_what_it_is(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("PUVAE_DATA", raising=False)
    monkeypatch.setattr(prepare, "travelling", lambda to: {"puvae_rt": 60 << 20, ".gpu/samples": 1 << 20})
    assert prepared(tmp_path / "gpu", monkeypatch, "mnist", "cifar10") == 0
    document = json.loads((tmp_path / "gpu" / PREPARED_FILE).read_text())
    assert document["models"] == ["mnist"] and document["images"] == 8
    assert any("cifar10 is left out: no cifar10.npz" in note for note in document["notes"])
    monkeypatch.setattr(prepare, "LIMIT_BYTES", 60 << 20)
    assert prepared(tmp_path / "gpu", monkeypatch, "mnist") == 1
    assert "too much; the largest parts:\n    60.0 MiB  puvae_rt" in capsys.readouterr().out


def test_all_that_travels_is_weighed(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a").write_bytes(bytes(10))
    (tmp_path / "tensorrt8").mkdir()
    (tmp_path / "tensorrt8" / "a.whl").write_bytes(bytes(1000))
    sizes = prepare.travelling(tmp_path)
    assert sizes[f"{tmp_path.name}/samples"] == 10 and not any("tensorrt8" in part for part in sizes)
    assert sizes["puvae_rt/assets/mnist"] > 1e6


def test_a_sheet_loses_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (37, 3, 32, 32), np.uint8)
    np.testing.assert_array_equal(sheet.unpacked(sheet.packed(images), 37, 32), images)


def test_arrays_race_and_straightforward(day: Day) -> None:
    for module in ("arrays", "race", "straightforward"):
        perform(module, day)
    found = json.loads(day.file.read_text())
    assert found["torch"]["equal"] and found["torch"]["in_place"] and found["two_streams"]["equal"]
    assert found["ratio"] > 0 and len(found["defense_gan"]) == 4
    assert found["FP32 eager"].keys() == found["ours"].keys() - {"before", "after"}


def test_the_racer_is_defense_gan() -> None:
    generator, _ = load_generator(WEIGHTS)
    images = torch.rand((3, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    search = Search(steps=6, restarts=2)
    racer = Descent(generator, images, search, graph=False)
    racer.timed()
    torch.testing.assert_close(
        racer.best, DefenseGan(generator, search).purify(images), atol=tolerances.EXACT_ATOL, rtol=0
    )


def test_the_straightforward_one_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straightforward, "SIGMA", 0.0)
    torch.manual_seed(0)
    model = PuVAE(ImageContract(1, 28, 28), 4).eval()
    images = torch.rand((3, 1, 28, 28))
    got = straightforward.projection(model, images)()
    with torch.inference_mode():
        candidates, _ = model.project(images)
    closest = (candidates - images[:, None]).square().mean(dim=(2, 3, 4)).argmin(dim=1)
    torch.testing.assert_close(got, candidates[torch.arange(3), closest], atol=tolerances.EXACT_ATOL, rtol=0)


def test_tensorrt8_is_skipped_where_something_is_missing(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Skipped, match="no wheel of TensorRT 8"):
        tensorrt8.run(day)
    folder = day.work / "tensorrt8"
    folder.mkdir()
    wheel = b"PK\x05\x06" + bytes(18)  # an empty archive, in two parts
    (folder / "tensorrt-8.5.3.1-cp310.whl.0").write_bytes(wheel[:9])
    assert tensorrt8.joined(folder) == [], "the rest is still to come"
    (folder / "tensorrt-8.5.3.1-cp310.whl.1").write_bytes(wheel[9:])
    monkeypatch.setattr(tensorrt8.shutil, "which", lambda name: None)
    with pytest.raises(Skipped, match=r"no python3\.10"):
        tensorrt8.run(day)
    monkeypatch.setattr(tensorrt8.shutil, "which", lambda name: "/usr/bin/python3.10")
    with pytest.raises(Skipped, match="needs a GPU"):
        tensorrt8.run(day)


def test_tensorrt8s_engines_go_through_the_whole_measurement(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT alone is stood in for: by the ONNX files that it would be given."""
    device: list[Device] = []
    listing = json.dumps({"Layers": [{"Name": "fc", "LayerType": "gemm", "Weights": {"Type": "Half", "Count": 9}}]})

    def build_plan(target: str, model: bytes, batch: tuple[int, int], shapes: object) -> SerializedEngine:
        assert (target, batch, shapes) == ("tensorrt", (1, 2), {"image": (1, 28, 28)})
        return SerializedEngine(model, (listing,), 0.5, "8.5.3.1")

    def engine(target: str, plan: bytes, where: Path, gpu: str) -> StandIn:
        assert plan == where.read_bytes()
        return StandIn(device[0], where, (1, 2), threads=1)  # type: ignore[arg-type]

    opened = tensorrt8_worker.opened
    monkeypatch.setattr(tensorrt8_worker, "build_plan", build_plan)
    monkeypatch.setattr(tensorrt8_worker, "TrtEngine", engine)
    monkeypatch.setattr(tensorrt8_worker, "opened", lambda *given: device.append(given[2]) or opened(*given))
    tensorrt8_worker.run(day)
    found = json.loads(day.file.read_text())["mnist"]
    assert found["agreement"] == {"images": 8, "projected": 1.0, "labels": 1.0} and found["graph_equals_plain"]
    assert found["engines"][ENGINE_ONNX_FILE]["attested"] == "fp16"
    assert "not attested" in found["engines"][CLASSIFIER_FILE]["attested"], "FP32 was asked for"
    assert found["batch"].keys() == found["frame"].keys() == {"1", "2"}


@pytest.mark.long
def test_the_whole_day_on_the_emulated_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = shipped_names() if "PUVAE_DATA" in os.environ else ("mnist", "fashion_mnist")
    prepared(tmp_path / "carried", monkeypatch, *models)
    monkeypatch.undo()
    folders = ["--carried", str(tmp_path / "carried"), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert main(["run", "--device", EMULATED, "--budget", "3000", *folders]) == 0, "seconds are not what is tried"
    stages = json.loads((tmp_path / "out" / RESULTS_FILE).read_text())["stages"]
    assert list(stages) == [stage.name for stage in STAGES]
    absent = {name for name, row in stages.items() if row["status"] == "skipped"}
    assert absent <= {"memcheck", "racecheck", "synccheck", "initcheck", "tensorrt8", "training"}
    assert {model for model in stages["pipeline"]["found"] if model != "called"} == set(models)
