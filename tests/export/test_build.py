"""The build command: bundles that the runtime takes, the gate, refusals, and nothing half-written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import build as command
from export import engine as engine_module
from export import proof, quality
from export.build import BuildSettings, build
from export.layers import Listed, ListedLayer
from export.samples import Samples, load_samples, save_samples
from export.verify import find_samples
from puvae_rt import Purifier
from puvae_rt.contract import CLASSIFIER_FILE
from puvae_rt.errors import BuildError, ContractError, DataError, PuvaeError, QualityError, UnknownModelError
from puvae_rt.graph.onnx_file import read_puvae
from puvae_rt.runtime.manifest import Manifest
from puvae_rt.runtime.results import Purified
from tests.export.shipped import CLASSES, NAME, dataset
from tests.export.toy import GRAY
from tests.tolerances import EXACT_ATOL

pytestmark = pytest.mark.usefixtures("toy_assets")


@pytest.fixture
def settings(tmp_path: Path) -> BuildSettings:
    return BuildSettings(model=NAME, out=tmp_path / "out")


@pytest.fixture(scope="module")
def checkpoints(packed: Path) -> Path:
    return packed.parent.parent


def purified(source: str | Path, images: np.ndarray, noise: np.ndarray | None = None) -> Purified:
    with Purifier.load(source, threads=1) as purifier:
        return purifier.purify(images, noise)


def assert_same(got: Purified, want: Purified) -> None:
    np.testing.assert_array_equal(got.projected, want.projected)
    np.testing.assert_allclose(got.images, want.images, rtol=0, atol=EXACT_ATOL)
    np.testing.assert_allclose(got.rmse, want.rmse, rtol=0, atol=EXACT_ATOL)


def test_a_bundle_is_complete_and_runs(settings: BuildSettings, packed: Path) -> None:
    folder, manifest = build(settings)
    assert folder == settings.out / "toy-cpu-fp32"
    assert Manifest.read(folder) == manifest
    manifest.verify_files(folder)
    assert manifest.files.keys() == {"reference.onnx", "engine.onnx", "classifier.onnx"}
    assert {path.name for path in folder.iterdir()} == {*manifest.files, "manifest.json"}
    assert (manifest.target, manifest.precision, manifest.sigma) == ("cpu", "fp32", 0.0)
    exact = ("hoist", "fold_labels", "dilation_to_batch", "drop_sigma")
    assert manifest.passes == (*exact, "first_deconv_as_gemm", "deconvs_in_phases")
    assert manifest.source_sha256 == manifest_sha(packed)
    assert {"python", "puvae_rt", "onnx", "onnxruntime"} <= manifest.tools.keys()
    assert manifest.engine.kernels_per_frame == len(manifest.engine.layers) > 0
    report = manifest.quality
    assert report is not None and report.passed and report.images == 6 and report.evidence == "measured"
    assert {"accuracy/ifgsm", "classified/clean"} <= report.reference.keys()
    assert report.built["exact_error"] <= EXACT_ATOL
    images = load_samples(packed / "samples.npz", GRAY, CLASSES).sets["fgsm"]
    assert_same(purified(folder, images), purified(NAME, images))


def manifest_sha(packed: Path) -> str:
    return str(json.loads((packed / "model.json").read_text())["sha256"]["weights.safetensors"])


def test_every_kind_of_source_builds_the_same(
    settings: BuildSettings, packed: Path, checkpoints: Path, cpu_onnx: Path
) -> None:
    samples = packed / "samples.npz"
    shipped, _ = build(settings)
    for name, model in {"weights": checkpoints / "puvae.safetensors", "onnx": cpu_onnx}.items():
        other = replace(settings, model=str(model), out=settings.out / name, samples=samples)
        folder, manifest = build(other)
        assert (folder / "engine.onnx").read_bytes() == (shipped / "engine.onnx").read_bytes()
        assert "classifier.onnx" not in manifest.files


def test_without_passes(settings: BuildSettings) -> None:
    folder, manifest = build(replace(settings, passes="none"))
    assert manifest.passes == ()
    assert read_puvae(folder / "engine.onnx")[1].passes == ()
    assert manifest.quality is not None and 0 < manifest.quality.built["max_error/clean"] <= EXACT_ATOL
    assert manifest.engine.weight_bytes > 100_000_000  # Table 1's FC1, low rank multiplied back


def test_sampling(settings: BuildSettings) -> None:
    folder, manifest = build(replace(settings, sigma=0.1, classifier="none"))
    assert "drop_sigma" not in manifest.passes
    assert "classifier.onnx" not in manifest.files
    images = np.zeros((2, 1, 28, 28), np.uint8)
    noise = np.random.default_rng(0).standard_normal((2, CLASSES, 32), np.float32)
    assert not np.array_equal(purified(folder, images, noise).images, purified(folder, images, -noise).images)


def test_an_rtx_engine(settings: BuildSettings) -> None:
    pytest.importorskip("tensorrt_rtx")
    folder, manifest = build(replace(settings, target="rtx", precision="fp16", compute_capabilities=("8.9", "8.6")))
    assert folder.name == "toy-rtx-fp16"
    assert manifest.files.keys() == {"reference.onnx", "engine.onnx", "engine.plan", "classifier.onnx"}
    assert manifest.options.compute_capabilities == ("8.6", "8.9")
    assert manifest.engine.evidence == "built by TensorRT-RTX"
    assert manifest.engine.kernels_per_frame <= 12
    assert {layer.precision for layer in manifest.engine.layers} <= {"fp16", "none"}
    assert manifest.passes[-1] == "unroll_last_deconv"
    (output,) = manifest.engine.outputs
    assert (output.name, output.dtype, output.shape) == ("candidates", "float16", (-1, CLASSES, *GRAY.shape))
    assert manifest.engine.inputs[0].dtype == "float32"
    assert manifest.quality is not None and manifest.quality.evidence == "emulated"
    assert Manifest.read(folder) == manifest


def test_a_layer_in_another_precision_fails_the_build(settings: BuildSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setattr(engine_module, "to_fp16", lambda graph: graph)
    with pytest.raises(BuildError, match=r"asked for fp16, but \d+ layers came out otherwise: .*\(fp32\)"):
        build(replace(settings, target="rtx", precision="fp16", compute_capabilities=("8.6",)))
    assert not settings.out.exists()


REFUSED = {
    "cpu-fp16": ({"precision": "fp16"}, BuildError, r"--precision fp16 with --target cpu: ONNX Runtime"),
    "unknown-model": ({"model": "minst"}, UnknownModelError, r"--model minst: not shipped \(toy\)"),
    "absent-checkpoint": ({"model": "absent.safetensors"}, BuildError, r"absent.safetensors: no such file"),
    "absent-onnx": ({"model": "absent.onnx"}, BuildError, r"absent.onnx: .*No such file"),
    "absent-samples": ({"samples": Path("absent.npz")}, DataError, r"absent.npz: not readable as test images"),
    "absent-classifier": ({"classifier": "absent.onnx"}, BuildError, r"--classifier absent.onnx: no such file"),
    "unknown-classifier": (
        {"classifier": "classifier_z"},
        PuvaeError,
        r"no classifier 'classifier_z'; expected one of",
    ),
}


@pytest.mark.parametrize("changes, error, message", REFUSED.values(), ids=REFUSED)
def test_refusals(settings: BuildSettings, changes: dict[str, object], error: type[PuvaeError], message: str) -> None:
    with pytest.raises(error, match=message):
        build(replace(settings, **changes))  # type: ignore[arg-type]
    assert not settings.out.exists() or not list(settings.out.iterdir())


def test_a_classifier_of_other_images_is_refused(settings: BuildSettings, cpu_onnx: Path) -> None:
    with pytest.raises(PuvaeError, match=r"puvae.onnx: outputs are .*expected .*logits"):
        build(replace(settings, classifier=str(cpu_onnx)))


def external_classifier(packed: Path, folder: Path) -> Path:
    """The shipped classifier with its weights in another file."""
    path = folder / "own.onnx"
    model = onnx.load(packed / "classifier_a.onnx")
    onnx.save(model, path, save_as_external_data=True, location="own.data", size_threshold=0)
    return path


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "no-verify"])
def test_a_classifier_with_its_weights_in_another_file(
    settings: BuildSettings, packed: Path, tmp_path: Path, verify: bool
) -> None:
    path = external_classifier(packed, tmp_path)
    folder, _ = build(replace(settings, classifier=str(path), verify=verify))
    (tmp_path / "own.data").unlink()
    images = load_samples(packed / "samples.npz", GRAY, CLASSES).sets["clean"]
    with Purifier.load(folder, threads=1) as own, Purifier.load(NAME, threads=1) as shipped:
        assert [own(image[0]).label for image in images] == [shipped(image[0]).label for image in images]


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "no-verify"])
def test_a_classifier_whose_other_file_is_absent_is_named(
    settings: BuildSettings, packed: Path, tmp_path: Path, verify: bool
) -> None:
    path = external_classifier(packed, tmp_path)
    (tmp_path / "own.data").unlink()
    with pytest.raises(BuildError, match=rf"{path}: its weights in own\.data: .*No such file"):
        build(replace(settings, classifier=str(path), verify=verify))


def test_a_classifier_that_fails_on_the_images_is_named(settings: BuildSettings, packed: Path, tmp_path: Path) -> None:
    """Logits of NaN, but for the zeros that it is tried with."""
    path = tmp_path / "nan.onnx"
    model = onnx.load(packed / "classifier_a.onnx")
    last = model.graph.node[-1]
    logits, last.output[0] = last.output[0], "finite"
    model.graph.node.extend(
        [
            helper.make_node("ReduceSum", ["image", "axes"], ["sum"], keepdims=0),
            helper.make_node("Unsqueeze", ["sum", "one"], ["column"]),
            helper.make_node("Log", ["negative"], ["nan"]),
            helper.make_node("Neg", ["column"], ["negative"]),
            helper.make_node("Where", ["lit", "nan", "finite"], [logits]),
            helper.make_node("Greater", ["column", "zero"], ["lit"]),
        ]
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ]
    )
    onnx.save(model, path)
    with pytest.raises(PuvaeError, match=rf"{path}: NaN in logits"):
        build(replace(settings, classifier=str(path)))


LATE = {
    "other classifier": {"classifier": "CPU_ONNX"},
    "absent classifier": {"classifier": "absent.onnx"},
    "samples of other images": {"samples": "OTHER_SAMPLES"},
    "a folder of somebody else's": {"out": "TAKEN"},
    "a file in the way": {"out": "FILE"},
}


@pytest.mark.parametrize("changes", LATE.values(), ids=LATE)
def test_what_can_be_refused_is_refused_before_any_work(
    settings: BuildSettings, tmp_path: Path, cpu_onnx: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    other, taken = tmp_path / "other.npz", tmp_path / "taken" / "toy-cpu-fp32"
    save_samples(other, Samples({"clean": np.zeros((4, 3, 32, 32), np.uint8)}, np.zeros(4, np.int64)))
    taken.mkdir(parents=True)
    (taken / "work.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    places = {
        "CPU_ONNX": str(cpu_onnx),
        "OTHER_SAMPLES": other,
        "TAKEN": taken.parent,
        "FILE": tmp_path / "file" / "deeper",
    }
    for name in ("prove_exact", "compile_engine"):
        monkeypatch.setattr(command, name, lambda *a: pytest.fail("worked before it refused"))
    with pytest.raises(PuvaeError):
        build(replace(settings, **{key: places.get(value, value) for key, value in changes.items()}))  # type: ignore[arg-type]
    assert (taken / "work.txt").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_layers_precision_is_what_was_compiled(settings: BuildSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    _, manifest = build(settings)
    layers = {layer.name: layer.precision for layer in manifest.engine.layers}
    assert (layers["label"], layers["score"], layers["select.is_nan"]) == ("int64", "fp32", "bool")
    assert "unknown" not in layers.values()
    half = ListedLayer("fc1", "Gemm", (), (Listed("w", (4, 4), "fp16"),), ())
    monkeypatch.setattr(engine_module, "from_onnx", lambda model: [half])
    with pytest.raises(BuildError, match=r"asked for fp32, but 1 layers came out otherwise: fc1 \(fp16\)"):
        build(settings)


def test_an_onnx_cannot_be_undone_or_resampled(settings: BuildSettings, packed: Path, cpu_onnx: Path) -> None:
    from_onnx = replace(settings, model=str(cpu_onnx), samples=packed / "samples.npz")
    with pytest.raises(BuildError, match=r"--passes none: the .onnx has had the exact passes"):
        build(replace(from_onnx, passes="none"))
    with pytest.raises(BuildError, match=r"--target rtx: the .onnx was made for the CPU; give the reference.onnx"):
        build(replace(from_onnx, target="rtx"))
    with pytest.raises(BuildError, match=r"made for --sigma 0, asked for 0.1"):
        build(replace(from_onnx, sigma=0.1))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"target": "tpu"}, r"--target tpu: expected one of cpu, native, rtx, tensorrt"),
        ({"precision": "fp8"}, r"--precision fp8: expected one of"),
        ({"passes": "some"}, r"--passes some: expected one of none, exact"),
        ({"sigma": -1.0}, r"--sigma -1.0: expected a finite number >= 0"),
        ({"sigma": float("nan")}, r"--sigma nan"),
        ({"batch": (0, 8)}, r"--batch \(0, 8\): expected sizes from 1"),
        ({"batch": (1, 2, 3)}, r"--batch \(1, 2, 3\): expected one size, or the smallest and largest"),
        ({"verify": False, "samples": Path("absent.npz")}, r"--samples absent.npz: expected none with --no-verify"),
        ({"verify": False, "data": Path("absent")}, r"--data absent: expected none with --no-verify"),
        ({"batch": ()}, r"--batch \(\): expected"),
        ({"compute_capabilities": ("8.6",)}, r"--compute-capability 8.6: target 'cpu' builds for the machine"),
    ],
)
def test_bad_settings_name_the_flag(settings: BuildSettings, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        replace(settings, **changes)  # type: ignore[arg-type]


@pytest.fixture
def own(checkpoints: Path, tmp_path: Path) -> Path:
    """The weights of a model that does not ship."""
    path = tmp_path / "mine.safetensors"
    content = (checkpoints / "puvae.safetensors").read_bytes()
    path.write_bytes(content.replace(b'\\"model\\": \\"toy\\"', b'\\"model\\": \\"own\\"'))
    return path


def test_a_model_without_test_images_must_say_so(settings: BuildSettings, own: Path, tmp_path: Path) -> None:
    given = dataset(tmp_path / "own.npz")
    with pytest.raises(
        DataError, match=r"'own' ships no test images .*--classifier FILE.*--samples FILE.npz .*--no-ver"
    ):
        build(replace(settings, model=str(own), data=given))
    folder, manifest = build(replace(settings, model=str(own), verify=False))
    assert (folder.name, manifest.quality, manifest.options.verify) == ("own-cpu-fp32", None, False)


@pytest.mark.parametrize("classifier", ["a.safetensors", "assets/toy/classifier_a.onnx"])
def test_an_own_model_is_verified_under_attacks_on_the_bundles_classifier(
    settings: BuildSettings, own: Path, checkpoints: Path, tmp_path: Path, classifier: str
) -> None:
    lines: list[str] = []
    data = dataset(tmp_path / "own.npz")
    given = replace(settings, model=str(own), data=data, classifier=str(checkpoints / classifier))
    folder, manifest = build(given, lines.append)
    assert manifest.quality is not None and manifest.quality.images == 12
    assert {"accuracy/clean", "classified/fgsm", "classified/ifgsm"} <= manifest.quality.reference.keys()
    assert any(f"ifgsm on {Path(classifier).stem}, epsilon" in line for line in lines)
    images = find_samples(None, data, manifest, classifier=folder / CLASSIFIER_FILE)  # as `puvae verify` does
    assert images.sha256 == manifest.quality.samples_sha256


def test_a_model_that_ships_no_images_is_verified_on_its_dataset(
    without_images: Path, settings: BuildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no test images to verify 'toy' with: .*--data PATH; or set PUVAE_DATA"):
        build(settings)
    with pytest.raises(DataError, match=r"'toy' with: dataset 'toy': got 4 classes .* expected those of the model, 3"):
        build(replace(settings, data=dataset(tmp_path / "other.npz", classes=4)))
    assert not settings.out.exists()
    lines: list[str] = []
    given = replace(settings, data=dataset(tmp_path / "toy.npz"))
    report, again = build(given, lines.append)[1].quality, build(given)[1].quality
    assert report is not None and again is not None and report.passed and report.images == 12
    assert {"accuracy/clean", "classified/fgsm", "classified/ifgsm"} <= report.reference.keys()
    assert any("ifgsm on classifier_a" in line for line in lines)
    assert report.samples_sha256 == again.samples_sha256  # the same images and attacks


def test_a_dataset_comes_before_the_shipped_images(settings: BuildSettings, tmp_path: Path) -> None:
    report = build(replace(settings, data=dataset(tmp_path / "toy.npz")))[1].quality
    assert report is not None and report.images == 12


def test_an_engine_that_is_not_good_enough_is_not_written(
    settings: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = build(settings)
    before = (old / "manifest.json").read_bytes()
    monkeypatch.setitem(quality.LIMITS, "fp32", {"accuracy_drop": -0.5, "agreement": 1.0, "psnr_db": 0.0})
    with pytest.raises(QualityError, match=r"not good enough \(accuracy/clean is .* limit .*no bundle was written"):
        build(settings)
    assert (old / "manifest.json").read_bytes() == before
    assert [path.name for path in settings.out.iterdir()] == ["toy-cpu-fp32"]


def test_passes_that_are_not_exact_are_refused(settings: BuildSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "EXACT_TOLERANCE", 1e-12)
    with pytest.raises(BuildError, match=r"exact passes moved a candidate's pixel by .* expected at most 1e-12"):
        build(settings)


def test_interrupted_at_any_line_nothing_is_left(settings: BuildSettings) -> None:
    lines: list[str] = []
    build(replace(settings, out=settings.out / "whole"), lines.append)
    for stop in range(len(lines)):

        def progress(line: str, stop: str = lines[stop]) -> None:
            if line.startswith(stop[:12]):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(settings, progress)
        assert [path.name for path in settings.out.iterdir()] == ["whole"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    line = ["--model", NAME, "--target", "cpu", "--precision", "fp32", "--passes", "exact", "--sigma", "0"]
    assert command.main([*line, "--batch", "1,8", "--out", out]) == 0
    printed = capsys.readouterr()
    assert "toy-cpu-fp32" in printed.out and "quality passed" in printed.out
    assert "multiply-adds" in printed.err
    assert command.main([*line, "--out", out, "--no-verify", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["quality"] is None
    assert document["bundle"].endswith("toy-cpu-fp32")


@pytest.mark.parametrize(
    "line, code, message",
    [
        (["--precision", "fp16"], 2, "error: --precision fp16 with --target cpu"),
        (["--sigma", "-1"], 2, "error: --sigma -1.0"),
        (["--model", "absent.onnx"], 2, "error: absent.onnx"),
    ],
)
def test_errors_of_the_command_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str], code: int, message: str
) -> None:
    assert command.main(["--model", NAME, "--out", str(tmp_path), *line]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(message)


def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "compile_engine", interrupt)
    assert command.main(["--model", NAME, "--out", str(tmp_path / "out")]) == 130
    assert "no bundle was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sizes_of_a_call_are_taken_in_either_order(capsys: pytest.CaptureFixture[str]) -> None:
    from puvae_rt.cli.commands.build import _sizes

    assert (_sizes("8,1"), _sizes("1,8"), _sizes("8")) == ((1, 8), (1, 8), (8,))
    with pytest.raises(SystemExit):
        command.main(["--batch", "1,2,3"])
    assert "'1,2,3': expected one size, or the smallest and the largest" in capsys.readouterr().err
