from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from puvae_rt import Purifier
from puvae_rt.contract import IMAGE, LABEL, LOGITS, PURIFIED, RMSE, SCORE
from puvae_rt.errors import BundleError, EngineError, FileError
from puvae_rt.runtime.cpu import Classifier, OrtEngine
from puvae_rt.runtime.session import open_session, write_optimized
from tests.runtime import toy

ROOT = Path(__file__).parents[2]
FLOAT, HALF, DOUBLE, BYTE, LONG = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.INT64
)  # fmt: skip
K, PIXELS = toy.CLASSES, toy.GRAY.pixels
ZEROS = np.zeros((3, *toy.GRAY.shape), np.float32)


def constant(name: str, value: Any, dtype: Any = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def to_model(nodes: list[NodeProto], inputs: list[Any], outputs: list[Any], constants: list[TensorProto]) -> ModelProto:
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def classifier(
    kind: int = FLOAT,
    out_kind: int = FLOAT,
    image: tuple[Any, ...] = ("N", 1, 28, 28),
    logits: tuple[Any, ...] = ("N", K),
    features: int = PIXELS,
    inside: str = "Flatten",
    names: tuple[str, str] = (IMAGE, LOGITS),
    classes: int = K,
) -> ModelProto:
    """image -> cast -> flatten -> product -> cast -> logits."""
    flatten = helper.make_node("Flatten", ["x"], ["flat"])
    if inside == "Reshape":  # the batch is free by name only
        flatten = helper.make_node("Reshape", ["x", "one"], ["flat"])
    nodes = [
        helper.make_node("Cast", [names[0]], ["x"], to=FLOAT),
        flatten,
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
        helper.make_node("Cast", ["y"], [names[1]], to=out_kind),
    ]
    inputs = [helper.make_tensor_value_info(names[0], kind, image)]
    outputs = [helper.make_tensor_value_info(names[1], out_kind, logits)]
    constants = [constant("w", np.full((features, classes), 0.01), np.float32), constant("one", [1, features])]
    return to_model(nodes, inputs, outputs, constants)


FREE = ("N", "C", "H", "W")
REFUSED: dict[str, tuple[ModelProto, str]] = {
    "half input": (classifier(HALF), r"image tensor\(float16\) \[N,1,28,28\], expected image tensor\(float\)"),
    "double input": (classifier(DOUBLE), r"tensor\(double\)"),
    "byte input": (classifier(BYTE), r"tensor\(uint8\)"),
    "whole numbers out": (classifier(out_kind=LONG), r"outputs are logits tensor\(int64\)"),
    "free sizes made for other images": (classifier(image=FREE, features=32 * 32), "failed on image float32"),
    "free sizes of other classes": (classifier(image=FREE, logits=("N", "K"), classes=3), "outputs"),
    "other classes": (classifier(logits=("N", 3), classes=3), r"logits tensor\(float\) \[N,3\]"),
    "a batch of one": (classifier(image=(1, 1, 28, 28)), r"\[1,1,28,28\]"),
    "a batch that is free by name only": (classifier(inside="Reshape"), "outputs are|failed on image"),
    "channels last": (classifier(image=("N", 28, 28, 1)), r"\[N,28,28,1\]"),
    "one axis less": (classifier(image=("N", 28, 28)), r"\[N,28,28\]"),
    "other names": (classifier(names=("input", "output")), "inputs are input "),
    "another output name": (classifier(names=(IMAGE, "output")), "outputs are output "),
}


@pytest.mark.parametrize("model, message", REFUSED.values(), ids=REFUSED)
def test_a_users_classifier_is_refused_at_load_with_how_to_export_it(
    bundle: Path, tmp_path: Path, model: ModelProto, message: str
) -> None:
    onnx.save(model, tmp_path / "own.onnx")
    with pytest.raises(BundleError, match=message) as raised:
        Purifier.load(bundle, threads=1, classifier=tmp_path / "own.onnx")
    text = str(raised.value)
    assert "input `image` [N,1,28,28] float32" in text and "output `logits` [N,5]" in text
    assert "rebuild the bundle" not in text


TAKEN = {
    "plain": classifier(),
    "half output": classifier(out_kind=HALF),
    "double output": classifier(out_kind=DOUBLE),
    "free sizes": classifier(image=FREE),
    "free sizes without names": classifier(image=(None,) * 4, logits=(None, None)),
}


@pytest.mark.parametrize("model", TAKEN.values(), ids=TAKEN)
def test_a_users_classifier_is_taken(bundle: Path, tmp_path: Path, model: ModelProto) -> None:
    onnx.save(model, tmp_path / "own.onnx")
    with Purifier.load(bundle, threads=1, classifier=tmp_path / "own.onnx") as purifier:
        assert purifier(np.zeros((40, 40), np.uint8)).label in range(K)
        assert purifier.classifier is not None and purifier.classifier.logits(ZEROS).dtype == np.float32


def save_external(path: Path, data: str) -> None:
    """The toy classifier with its weights in another file."""
    toy.save_classifier(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=0)


def test_weights_beside_a_users_classifier_are_read(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    save_external(tmp_path / "own" / "own.onnx", "own.onnx.data")
    with Purifier.load(bundle, threads=1, classifier=tmp_path / "own" / "own.onnx") as purifier:
        assert purifier(np.zeros((40, 40), np.uint8)).label == 3


@pytest.mark.parametrize("how", ["parent", "absolute", "symlink", "fifo", "absent"])
def test_weights_elsewhere_are_refused(bundle: Path, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    save_external(folder / "own.onnx", "weights.data")
    location = {"parent": "../weights.data", "absolute": str(tmp_path / "weights.data")}.get(how, "weights.data")
    (folder / "weights.data").rename(tmp_path / "weights.data")
    model = onnx.load(folder / "own.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    onnx.save(model, folder / "own.onnx")
    if how == "symlink":
        (folder / "weights.data").symlink_to(tmp_path / "weights.data")
    elif how == "fifo":
        os.mkfifo(folder / "weights.data")
    with pytest.raises(BundleError, match=r"weights.data.*export the classifier"):
        Classifier(folder / "own.onnx", toy.GRAY, K, threads=1)


def test_an_engine_is_one_file(tmp_path: Path) -> None:
    save_external(tmp_path / "engine.onnx", "engine.data")
    with pytest.raises(BundleError, match=r"keeps its weights in engine.data, expected one file; rebuild"):
        open_session(tmp_path / "engine.onnx", threads=1)


def test_external_weights_are_found_wherever_a_model_keeps_tensors(tmp_path: Path) -> None:
    """In a branch of an `If`, as an attribute of a node: not among the graph's own constants."""
    weights = constant("w", np.ones(4), np.float32)
    branches = [
        helper.make_graph(
            [helper.make_node("Constant", [], [f"out{i}"], value=weights)],
            f"branch{i}",
            [],
            [helper.make_tensor_value_info(f"out{i}", FLOAT, (4,))],
        )
        for i in range(2)
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    model = to_model(
        [node],
        [helper.make_tensor_value_info("c", TensorProto.BOOL, ())],
        [helper.make_tensor_value_info("y", FLOAT, (4,))],
        [],
    )
    onnx.save(
        model,
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        convert_attribute=True,
    )
    with pytest.raises(BundleError, match=r"keeps its weights in m\.data"):
        open_session(tmp_path / "m.onnx", threads=1)


@pytest.mark.parametrize("kind", ["fifo", "folder", "absent", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "m.onnx"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match=f"{path.name}.*rebuild the bundle"):
        open_session(path, threads=1)


def purifier_model(label: str, label_type: int = LONG, value: float = 0.5) -> ModelProto:
    """image -> the image, distances that are all `value`, and the label that the node `label` makes of the batch."""
    nodes = [
        helper.make_node("Identity", [IMAGE], [PURIFIED]),
        helper.make_node("Shape", [IMAGE], ["n"], end=1),
        helper.make_node("Concat", ["n", "k"], ["nk"], axis=0),
        helper.make_node("Expand", ["value", "nk"], [RMSE]),
        helper.make_node("Identity", [RMSE], [SCORE]),
        helper.make_node("Expand", [label, "n"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], [LABEL], to=label_type),
    ]
    outputs = [
        helper.make_tensor_value_info(PURIFIED, FLOAT, ("N", 1, 28, 28)),
        helper.make_tensor_value_info(LABEL, label_type, ("N",)),
        helper.make_tensor_value_info(RMSE, FLOAT, ("N", K)),
        helper.make_tensor_value_info(SCORE, FLOAT, ("N", K)),
    ]
    constants = [constant("k", [K]), constant("value", value, np.float32)]
    constants += [constant(str(n), n) for n in (-2, -1, 0, K)]
    return to_model(nodes, [helper.make_tensor_value_info(IMAGE, FLOAT, ("N", 1, 28, 28))], outputs, constants)


@pytest.mark.parametrize("label_type", [FLOAT, TensorProto.INT32, TensorProto.STRING])
def test_an_engine_with_labels_of_another_type_is_refused_at_load(tmp_path: Path, label_type: int) -> None:
    onnx.save(purifier_model("0", label_type), tmp_path / "engine.onnx")
    with pytest.raises(BundleError, match=r"outputs are .* expected .*label tensor\(int64\)"):
        OrtEngine(tmp_path / "engine.onnx", toy.GRAY, K, threads=1)


@pytest.mark.parametrize(
    "label, value, message", [("5", 0.5, "label 5"), ("-2", 0.5, "label -2"), ("0", np.nan, "nan")]
)
def test_a_label_that_no_class_has_leaves_no_engine(tmp_path: Path, label: str, value: float, message: str) -> None:
    onnx.save(purifier_model(label, value=value), tmp_path / "engine.onnx")
    engine = OrtEngine(tmp_path / "engine.onnx", toy.GRAY, K, threads=1)
    with pytest.raises(EngineError, match=rf"{message}.*expected -1 or a class from 0 to 4"):
        engine.run(ZEROS)


def only_first(count: int) -> ModelProto:
    """A purifier that gives back no more than `count` images of a batch."""
    model = purifier_model("0")
    model.graph.node[0].CopyFrom(helper.make_node("Slice", [IMAGE, "first", "end", "first"], [PURIFIED]))
    model.graph.initializer.extend([constant("first", [0]), constant("end", [count])])
    return model


def test_fewer_images_than_were_given_are_no_answer() -> None:
    with pytest.raises(BundleError, match=r"outputs for 2 images are purified tensor\(float\) \[1,1,28,28\]"):
        OrtEngine(only_first(1).SerializeToString(), toy.GRAY, K, threads=1)
    engine = OrtEngine(only_first(2).SerializeToString(), toy.GRAY, K, threads=1)
    with pytest.raises(EngineError, match=r"purified is \[2, 1, 28, 28\] for 3 images, expected \[3, 1, 28, 28\]"):
        engine.run(ZEROS)


def test_no_class_at_a_finite_distance_is_an_answer(tmp_path: Path) -> None:
    onnx.save(purifier_model("-1", value=np.nan), tmp_path / "engine.onnx")
    assert OrtEngine(tmp_path / "engine.onnx", toy.GRAY, K, threads=1).run(ZEROS).projected.tolist() == [-1] * 3


def failing_on_light(model: ModelProto) -> ModelProto:
    """`model`, asking for four terabytes as soon as a pixel is not black."""
    nodes = [
        helper.make_node("ReduceMax", [IMAGE], ["largest"], keepdims=0),
        helper.make_node("Ceil", ["largest"], ["light"]),
        helper.make_node("Cast", ["light"], ["factor"], to=LONG),
        helper.make_node("Mul", ["factor", "tera"], ["many"]),
        helper.make_node("Reshape", ["many", "vector"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["none"], keepdims=0),
        helper.make_node("Add", [IMAGE, "none"], ["safe"]),
    ]
    for node in model.graph.node:
        node.input[:] = ["safe" if name == IMAGE else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend([constant("tera", 1 << 40), constant("vector", [1])])
    return model


def test_no_exception_of_onnx_runtimes_own_leaves_a_call(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx.save(failing_on_light(purifier_model("0")), tmp_path / "engine.onnx")
    onnx.save(failing_on_light(classifier()), tmp_path / "own.onnx")
    engine = OrtEngine(tmp_path / "engine.onnx", toy.GRAY, K, threads=1)
    own = Classifier(tmp_path / "own.onnx", toy.GRAY, K, threads=1)
    for call in (engine.run, own.logits, own.labels):
        call(ZEROS)
        with pytest.raises(EngineError, match=r"onnx: failed on image float32 \[3, 1, 28, 28\] \(.+\); "):
            call(ZEROS + np.float32(0.5))
    assert capfd.readouterr() == ("", "")


def test_a_refusal_in_another_encoding_is_one_too_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    model = classifier().SerializeToString().replace(b"Flatten", b"Fl\xf3tten")
    with pytest.raises(BundleError, match="ONNX Runtime refuses it"):
        open_session(model, 1)
    assert capfd.readouterr() == ("", "")


def test_a_name_that_onnx_runtime_does_not_take_is_said_to_be_one(bundle: Path, tmp_path: Path) -> None:
    renamed = bundle.rename(tmp_path / "a\udcff")
    with pytest.raises(BundleError, match=r"a\\udcff/engine.onnx: a name that is no UTF-8") as caught:
        Purifier.load(renamed)
    assert "rebuild" not in str(caught.value)


def test_a_classifier_that_gives_nan_gives_no_label(tmp_path: Path) -> None:
    model = classifier()
    model.graph.initializer[0].CopyFrom(constant("w", np.full((PIXELS, K), np.nan), np.float32))
    onnx.save(model, tmp_path / "own.onnx")
    with pytest.raises(EngineError, match="NaN in logits"):
        Classifier(tmp_path / "own.onnx", toy.GRAY, K, threads=1).labels(ZEROS)


def test_sessions_are_opened_in_one_place() -> None:
    parts = ("puvae_rt", "export", "calib", "demos", "tests")
    opening = "InferenceSession" + "("
    found = {path for part in parts for path in (ROOT / part).rglob("*.py") if opening in path.read_text("utf-8")}
    assert found == {ROOT / "puvae_rt" / "runtime" / "session.py"}


# The parent has purified and attacked; then the child does `{work}` and ends by Python's own way.
FORK = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from puvae_rt import Purifier
from puvae_rt.attacks.onnx_attack import OnnxGradient

def attack():
    return gradient(images[:2].astype(np.float32)[:, None] / 255, np.array([1, 2]))[1]

images = np.full((20, 28, 28), 99, np.uint8)
purifier = Purifier.load({bundle!r}, threads={threads})
gradient = OnnxGradient(Path({chain!r}), {threads} or 1)
want, want_gradient = purifier.purify(images).images, attack()
purifier(np.zeros((1080, 1920, 3), np.uint8))
{before}
child = os.fork()
if child == 0:
    {work}
    sys.exit(0)
end = time.monotonic() + 30
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.01)
else:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("hangs", flush=True)
    os._exit(1)
assert np.array_equal(purifier.purify(images).images, want)
print("exit code", os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)
"""
USE = "assert np.array_equal(purifier.purify(images).images, want); purifier(np.zeros((1080, 1920, 3), np.uint8))"
BUSY = """
for _ in range(3):
    threading.Thread(target=lambda: [purifier.purify(images) for _ in range(10**6)], daemon=True).start()
time.sleep(0.2)
"""
WORKS = {
    "ends": "pass",
    "uses": USE,
    "uses from threads": f"from concurrent.futures import ThreadPoolExecutor\n    def use(_): {USE}\n"
    "    with ThreadPoolExecutor(4) as pool: list(pool.map(use, range(8)))",
    "closes": "purifier.close()",
    "loads anew": f"purifier = Purifier.load({{bundle!r}}, threads={{threads}}); {USE}",
    "attacks": "assert np.array_equal(attack(), want_gradient)",
    "forks again": f"{USE}; inner = os.fork()\n    if inner: assert os.waitpid(inner, 0)[1] == 0\n    else: {USE}",
}


FORKS = [(work, 2, "") for work in WORKS] + [
    ("uses", None, ""),
    ("uses", None, BUSY),
    ("uses", 2, BUSY),
    ("loads anew", 1, BUSY),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize(
    "work, threads, before", FORKS, ids=[f"{work}-{n}-{'busy' if busy else 'idle'}" for work, n, busy in FORKS]
)
def test_a_child_made_by_a_fork_works_and_ends(
    bundle: Path, tmp_path: Path, work: str, threads: int | None, before: str
) -> None:
    chain = tmp_path / "chain.onnx"
    toy.save_classifier(chain)
    names = {"bundle": str(bundle), "chain": str(chain), "threads": threads}
    script = textwrap.dedent(FORK).format(before=before, work=WORKS[work].format(**names), **names)
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("exit code 0", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_child_whose_model_is_gone_says_so(tmp_path: Path) -> None:
    onnx.save(classifier(), tmp_path / "own.onnx")
    own = Classifier(tmp_path / "own.onnx", toy.GRAY, K, threads=1)
    (tmp_path / "own.onnx").unlink()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own.labels(ZEROS)
        except BundleError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert b"or load it in this process, which was forked" in os.read(read, 1 << 16)
    own.labels(ZEROS)


def test_an_optimized_graph_that_finds_no_room_is_not_blamed_on_the_model(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"/dev/full: the optimized graph could not be written, .* is the disk full"):
        write_optimized(bundle / "engine.onnx", 1, Path("/dev/full"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"broken.onnx: ONNX Runtime refuses it"):
        write_optimized(tmp_path / "broken.onnx", 1, tmp_path / "optimized.onnx")
