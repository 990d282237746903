"""White-box attacks on a classifier's ONNX file in NumPy and ONNX Runtime: `attacks` without PyTorch.

Images are float32 [N,C,H,W] in [0,1]; results stay in [0,1].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puvae_rt.attacks.constants import EPSILON, IFGSM_STEP_SHARE, IFGSM_STEPS
from puvae_rt.attacks.onnx_gradient import GRADIENT, gradient_model, read_classifier
from puvae_rt.contract import IMAGE, LABEL, LOGITS
from puvae_rt.errors import InputError
from puvae_rt.runtime.session import open_session

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


class OnnxGradient:
    """Logits of a classifier and the gradient of its cross-entropy with respect to the image.

    `classifier` is an ONNX file that `onnx_gradient.gradient_model` accepts; `ContractError` otherwise.
    """

    def __init__(self, classifier: Path, threads: int = 1) -> None:
        model = gradient_model(read_classifier(classifier))
        remedy = "export the classifier again"
        self._session = open_session(model.SerializeToString(), threads, name=str(classifier), remedy=remedy)
        # `gradient_model` refuses a model whose sizes are not fixed
        self.image_shape: Any = self._session.inputs[IMAGE].shape[1:]  # (C, H, W)
        self.classes: Any = self._session.outputs[LOGITS].shape[1]

    def __call__(self, images: Images, labels: Labels) -> tuple[NDArray[np.float32], Images]:
        """The logits [N,K] of images, and the gradient [N,C,H,W] of their summed cross-entropy at the images.

        Args:
            images: float32 [N,C,H,W] in [0,1].
            labels: true classes [N].
        Raises:
            InputError: other shapes, types or classes.
        """
        if images.ndim != 4 or images.shape[1:] != self.image_shape or images.dtype != np.float32:
            expected = ", ".join(map(str, self.image_shape))
            raise InputError(f"images {images.dtype} {images.shape}: expected float32 [N, {expected}]")
        in_range = (labels >= 0) & (labels < self.classes)
        if labels.shape != images.shape[:1] or not in_range.all():
            raise InputError(f"labels {labels.tolist()}: expected {len(images)} classes from 0 to {self.classes - 1}")
        feed: dict[str, NDArray[Any]] = {IMAGE: images, LABEL: labels.astype(np.int64)}
        logits, gradient = self._session.run((LOGITS, GRADIENT), feed)
        return logits, gradient


def fgsm(
    model: OnnxGradient, images: Images, labels: Labels, epsilon: float = EPSILON, targeted: bool = False
) -> Images:
    """The images after one step of size epsilon (L-infinity); Goodfellow et al. 2015.

    `labels` [N]: the true classes, or with `targeted` the classes to be mistaken for.
    """
    step = np.float32(epsilon) * _ascent_sign(model, images, labels, targeted)
    return _clip(images + step, 0, 1)


def ifgsm(
    model: OnnxGradient, images: Images, labels: Labels, epsilon: float = EPSILON, targeted: bool = False
) -> Images:
    """The images after `IFGSM_STEPS` steps inside the L-infinity ball of radius epsilon; Kurakin et al. 2017.

    `labels` as for `fgsm`.
    """
    radius, step = np.float32(epsilon), np.float32(IFGSM_STEP_SHARE * epsilon)
    low, high = _clip(images - radius, 0, 1), _clip(images + radius, 0, 1)
    attacked = images
    for _ in range(IFGSM_STEPS):
        attacked = _clip(attacked + step * _ascent_sign(model, attacked, labels, targeted), low, high)
    return attacked


ATTACKS: dict[str, Callable[..., Images]] = {"fgsm": fgsm, "ifgsm": ifgsm}


def _ascent_sign(model: OnnxGradient, images: Images, labels: Labels, targeted: bool) -> Images:
    _, gradient = model(images, labels)
    sign: Images = np.sign(gradient)
    return -sign if targeted else sign


def _clip(images: Images, low: Images | float, high: Images | float) -> Images:
    clipped: Images = np.clip(images, low, high).astype(np.float32, copy=False)
    return clipped
