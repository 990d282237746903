"""The torch-free attacks: their gradients against autograd and finite differences, and their promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.attacks.constants import EPSILON
from puvae_rt.attacks.onnx_attack import ATTACKS, OnnxGradient, fgsm, ifgsm
from puvae_rt.attacks.onnx_gradient import gradient_model, read_classifier
from puvae_rt.contract import ImageContract
from puvae_rt.errors import ContractError, InputError
from tests.attacks.onnx_classifiers import OnnxChain, from_torch
from tests.tolerances import GRADIENT_FINITE_DIFFERENCE, GRADIENT_RELATIVE


def _weights(seed: int, *shape: int) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def _small(tmp_path: Path, **conv: Any) -> OnnxGradient:
    """A classifier of 3 classes on 1x7x6 images, with one convolution and a dense layer as MatMul + Add."""
    chain = OnnxChain((1, 7, 6)).then("Conv", _weights(0, 4, 1, 3, 3), _weights(1, 4), **conv).then("Relu")
    chain.then("Flatten")
    features = _output_features(chain)
    chain.then("MatMul", _weights(2, features, 3)).then("Add", _weights(3, 3))
    onnx.save(chain.model(3), str(tmp_path / "small.onnx"))
    return OnnxGradient(tmp_path / "small.onnx")


def _output_features(chain: OnnxChain) -> int:
    probe = OnnxChain(chain.image)
    probe.nodes, probe.weights, probe.at = list(chain.nodes), list(chain.weights), chain.at
    shaped = onnx.shape_inference.infer_shapes(probe.model(1))
    flat = next(v for v in shaped.graph.value_info if v.name == chain.at)
    return int(flat.type.tensor_type.shape.dim[1].dim_value)


def _cross_entropy(model: OnnxGradient, images: Any, labels: Any) -> Any:
    logits = model(images, labels)[0].astype(np.float64)
    log_sum = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return log_sum - logits[np.arange(len(labels)), labels]


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("contract", [(1, 28, 28), (3, 32, 32)], ids=["mnist", "colour"])
def test_gradient_is_that_of_autograd(name: str, contract: tuple[int, int, int], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from puvae_rt.models.classifiers import classifier

    torch.manual_seed(0)
    layers = classifier(name, ImageContract(*contract), 10).eval()
    model = OnnxGradient(from_torch(layers, contract, 10, tmp_path / "c.onnx"))
    x, y = torch.rand(3, *contract, requires_grad=True), torch.tensor([0, 4, 9])
    logits = layers(x)
    torch.nn.functional.cross_entropy(logits, y, reduction="sum").backward()
    got_logits, got = model(x.detach().numpy(), y.numpy())
    np.testing.assert_allclose(got_logits, logits.detach().numpy(), atol=GRADIENT_RELATIVE)
    np.testing.assert_allclose(got, x.grad.numpy(), atol=GRADIENT_RELATIVE * float(x.grad.abs().max()))


def test_weights_in_half_precision_give_the_gradient_of_the_rounded_ones(tmp_path: Path) -> None:
    conv, dense = (_weights(seed, *shape).astype(np.float16) for seed, shape in enumerate([(4, 1, 3, 3), (80, 3)]))
    halved, rounded = OnnxChain((1, 7, 6)), OnnxChain((1, 7, 6))
    for chain, cast in ((halved, True), (rounded, False)):
        chain.then("Conv", conv if cast else conv.astype(np.float32)).then("Relu").then("Flatten")
        chain.then("Gemm", dense if cast else dense.astype(np.float32))
    onnx.save(halved.casting().model(3), str(tmp_path / "half.onnx"))
    onnx.save(rounded.model(3), str(tmp_path / "float.onnx"))
    images, labels = np.random.default_rng(0).random((4, 1, 7, 6), np.float32), np.array([0, 1, 2, 0])
    want, got = (OnnxGradient(tmp_path / f"{name}.onnx")(images, labels) for name in ("float", "half"))
    for one, other in zip(want, got, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=GRADIENT_RELATIVE * float(np.abs(one).max()))


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_attacks_equal_the_torch_ones(attack: str, targeted: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from puvae_rt.attacks import white_box as attacks
    from puvae_rt.models.classifiers import classifier

    torch.manual_seed(1)
    layers = classifier("B", ImageContract(1, 28, 28), 10).eval()
    model = OnnxGradient(from_torch(layers, (1, 28, 28), 10, tmp_path / "c.onnx"))
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([1, 2, 3, 4])
    expected = getattr(attacks, attack)(layers, x, y, EPSILON, targeted).numpy()
    got = {"fgsm": fgsm, "ifgsm": ifgsm}[attack](model, x.numpy(), y.numpy(), EPSILON, targeted)
    # A gradient that rounds to the other side of zero flips a whole step; nearly all pixels must agree.
    assert np.mean(np.abs(got - expected) > GRADIENT_RELATIVE) < 0.01


@pytest.mark.parametrize(
    "conv",
    [
        pytest.param({"pads": [1, 1, 1, 1]}, id="same"),
        pytest.param({"pads": [1, 1, 1, 1], "strides": [2, 2]}, id="stride 2"),
        pytest.param({"strides": [3, 2]}, id="uneven strides"),
        pytest.param({"pads": [2, 1, 0, 2], "dilations": [2, 1]}, id="uneven pads, dilation"),
    ],
)
def test_gradient_is_that_of_finite_differences(conv: dict[str, Any], tmp_path: Path) -> None:
    model = _small(tmp_path, **conv)
    rng = np.random.default_rng(0)
    image, label, step = rng.random((1, 1, 7, 6), np.float32), np.array([2]), 1e-2
    shifted = image + step * np.eye(42, dtype=np.float32).reshape(42, 1, 7, 6)
    lowered = image - step * np.eye(42, dtype=np.float32).reshape(42, 1, 7, 6)
    labels = label.repeat(42)
    slopes = (_cross_entropy(model, shifted, labels) - _cross_entropy(model, lowered, labels)) / (2 * step)
    _, gradient = model(image, label)
    # A ReLU that switches within the step bends single slopes; the bulk has to agree.
    close = np.abs(gradient.ravel() - slopes) < GRADIENT_FINITE_DIFFERENCE
    assert close.mean() > 0.85
    assert np.abs(gradient).max() > 10 * GRADIENT_FINITE_DIFFERENCE


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 5), seed=st.integers(0, 99), epsilon=st.floats(0, 0.5))
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_attacks_stay_in_the_ball_and_do_not_lower_the_loss(
    attack: str, n: int, seed: int, epsilon: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = _small(tmp_path_factory.mktemp("c"), pads=[1, 1, 1, 1])
    rng = np.random.default_rng(seed)
    images, labels = rng.random((n, 1, 7, 6), np.float32), rng.integers(0, 3, n)
    before = images.copy()
    attacked = ATTACKS[attack](model, images, labels, epsilon)
    assert attacked.dtype == np.float32
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert np.abs(attacked - images).max() <= epsilon + 1e-6
    np.testing.assert_array_equal(images, before)
    if epsilon < 0.05:  # small steps along the gradient raise the loss; large ones may overshoot
        assert (_cross_entropy(model, attacked, labels) >= _cross_entropy(model, images, labels) - 1e-5).all()


def test_attack_fools_the_shipped_classifier() -> None:
    folder = Path(__file__).parents[2] / "puvae_rt/assets/mnist"
    if not (folder / "classifier_a.onnx").exists():
        pytest.skip("the trained classifier is not there yet")
    samples = np.load(folder / "samples.npz", allow_pickle=False)
    images, labels = samples["images"][:100].astype(np.float32) / 255, samples["labels"][:100]
    model = OnnxGradient(folder / "classifier_a.onnx")

    def accuracy(x: Any) -> float:
        return float((model(x, labels)[0].argmax(1) == labels).mean())

    assert accuracy(images) > 0.95
    assert accuracy(fgsm(model, images, labels)) < 0.5
    assert accuracy(ifgsm(model, images, labels)) < 0.1


def _dense(op: str, *weights: Any, **attributes: Any) -> onnx.ModelProto:
    return OnnxChain((1, 4, 4)).then("Flatten").then(op, *weights, **attributes).model(3)


def _branching() -> onnx.ModelProto:
    chain = OnnxChain((1, 1, 3)).then("Relu")
    chain.nodes.append(onnx.helper.make_node("Add", [chain.at, chain.at], ["twice"]))
    chain.at = "twice"
    return chain.model(3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(lambda: OnnxChain((1, 1, 3)).then("Tanh").model(3), "Tanh", id="operator"),
        pytest.param(lambda: OnnxChain((1, 1, 3)).then("Cast", to=1).model(3), "Cast", id="cast of the image"),
        pytest.param(_branching, "expected a chain", id="branch"),
        pytest.param(lambda: OnnxChain((1, 1, 3)).then("Relu").model(3, "scores"), "logits", id="output"),
        pytest.param(lambda: _dense("Gemm", _weights(0, 5, 3)), "shapes", id="shapes that do not fit"),
        pytest.param(
            lambda: (
                OnnxChain((1, 3, 3))
                .then("Conv", _weights(0, 1, 1, 3, 3), auto_pad="SAME_UPPER")
                .then("Flatten")
                .then("Gemm", _weights(0, 9, 3))
                .model(3)
            ),
            "explicit `pads`",
            id="auto_pad",
        ),
        pytest.param(
            lambda: OnnxChain((1, 1, 3)).then("Add", _weights(0, 2, 3)).then("Relu").model(3),
            "widens",
            id="broadcasting add",
        ),
    ],
)
def test_unsupported_classifiers_are_refused(model: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        gradient_model(model())


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x08\x09" * 50])
def test_damaged_files_are_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ContractError, match=r"c\.onnx"):
        read_classifier(path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        pytest.param(np.zeros((1, 1, 7, 7), np.float32), np.array([0]), id="size"),
        pytest.param(np.zeros((1, 1, 7, 6), np.float64), np.array([0]), id="type"),
        pytest.param(np.zeros((2, 1, 7, 6), np.float32), np.array([0]), id="too few labels"),
        pytest.param(np.zeros((1, 1, 7, 6), np.float32), np.array([3]), id="label too large"),
        pytest.param(np.zeros((1, 1, 7, 6), np.float32), np.array([-1]), id="negative label"),
    ],
)
def test_wrong_input_is_refused(images: Any, labels: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        _small(tmp_path)(images, labels)
