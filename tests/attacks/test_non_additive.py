"""L2, patches, blurs and corruptions: each stays in its bound, does something, and is the same again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from puvae_rt.attacks.adaptive import through_classification
from puvae_rt.attacks.ascent import L2, Perturbation, Pgd, ascend
from puvae_rt.attacks.constants import CORRUPTION_NAMES, SEVERITIES
from puvae_rt.attacks.corruptions import CORRUPTIONS, corrupt
from puvae_rt.attacks.non_additive import Blur, Patch, convolve
from puvae_rt.errors import ContractError
from tests.attacks.toy import CLASSES, toy
from tests.tolerances import PIXEL_ATOL

COUNT = 20
QUICK = Pgd(steps=10, restarts=2)


def judge(x: Tensor) -> Tensor:
    return toy().classifier(x).argmax(1)


def attack(perturbation: Callable[[Tensor], Perturbation]) -> tuple[Tensor, Tensor, float]:
    """Images, attacked images, and the share that stands."""
    x, y = toy().images[:COUNT], toy().labels[:COUNT]
    attacked = ascend(through_classification(toy().classifier), judge, x, y, perturbation(x), QUICK)
    again = ascend(through_classification(toy().classifier), judge, x, y, perturbation(x), QUICK)
    assert torch.equal(attacked, again)
    assert attacked.min() >= 0 and attacked.max() <= 1
    return x, attacked, float((judge(attacked) == y).float().mean())


def test_l2_stays_in_its_ball_and_breaks_more_the_larger_it_is() -> None:
    standing = []
    for radius in (0.3, 4.0):
        x, attacked, stands = attack(lambda x, radius=radius: L2(x, radius))  # type: ignore[misc]
        assert (attacked - x).flatten(1).norm(dim=1).max() <= radius * (1 + PIXEL_ATOL)
        standing.append(stands)
    assert standing[0] > 0.8 and standing[1] < 0.2


def test_a_patch_changes_one_square_and_nothing_else() -> None:
    x, attacked, stands = attack(lambda x: Patch(x, 12))
    for changed in (attacked != x).any(dim=1):
        rows, columns = changed.nonzero(as_tuple=True)
        if len(rows):
            assert rows.max() - rows.min() < 12 and columns.max() - columns.min() < 12
    assert stands < 0.7
    assert (attacked - x).abs().max() > 0.5  # no epsilon


def test_a_patch_is_tried_at_another_place_in_every_restart() -> None:
    patch, generator = Patch(toy().images[:COUNT], 5), torch.Generator().manual_seed(0)
    places = [(patch.start(generator) != toy().images[:COUNT]).any(dim=1) for _ in range(2)]
    assert not torch.equal(*places)


def test_a_blur_is_a_convolution_with_weights_that_sum_to_one() -> None:
    x, attacked, stands = attack(lambda x: Blur(x, 7))
    blur = Blur(x, 7)
    kernels = blur.start(torch.Generator().manual_seed(0))
    moved = blur.move(kernels, torch.randn(kernels.shape), torch.arange(COUNT), 0.5)
    for weights in (kernels, moved):
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(COUNT), atol=1e-5, rtol=0)
    assert (moved - kernels).abs().max() > 0.01
    low, high = x.amin(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))  # a blur makes no light
    assert (attacked.amin(dim=(1, 2, 3)) >= low - PIXEL_ATOL).all()
    assert (attacked.amax(dim=(1, 2, 3)) <= high + PIXEL_ATOL).all()
    assert stands < 1


def test_a_kernel_with_one_weight_moves_the_image() -> None:
    x = torch.rand(2, 3, 8, 8)
    kernels = torch.zeros(2, 3, 3)
    kernels[0, 1, 1] = kernels[1, 1, 0] = 1  # stays; the value of the right neighbor
    made = convolve(x, kernels)
    torch.testing.assert_close(made[0], x[0])
    torch.testing.assert_close(made[1, :, :, :-1], x[1, :, :, 1:])
    torch.testing.assert_close(made[1, :, :, -1], x[1, :, :, -1])


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (lambda x: L2(x, 0.0), "L2 radius 0"),
        (lambda x: L2(x, float("nan")), "L2 radius nan"),
        (lambda x: Patch(x, 0), "patch side 0"),
        (lambda x: Patch(x, 29), "patch side 29"),
        (lambda x: Blur(x, 4), "blur side 4"),
        (lambda x: Blur(x, 1), "blur side 1"),
        (lambda x: Blur(x, 29), "blur side 29"),
    ],
)
def test_impossible_sizes_are_refused(bad: Callable[[Tensor], object], told: str) -> None:
    with pytest.raises(ContractError, match=told):
        bad(toy().images[:1])


def picture(channels: int) -> np.ndarray:  # type: ignore[type-arg]
    """A sharp bright square on a gray slope, [3,C,32,32], not the same in every channel."""
    images = np.tile(np.linspace(0.2, 0.6, 32, dtype=np.float32), (3, channels, 32, 1))
    images[:, :, 10:22, 10:22] = np.linspace(0.7, 1.0, channels, dtype=np.float32)[:, None, None]
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_grow_with_their_severity_and_are_the_same_again(name: str, channels: int) -> None:
    x = picture(channels)
    changes = []
    for severity in SEVERITIES:
        changed = corrupt(x, name, severity, seed=3)
        assert changed.shape == x.shape and changed.dtype == np.float32
        assert changed.min() >= 0 and changed.max() <= 1
        assert np.array_equal(changed, corrupt(x, name, severity, seed=3))
        assert np.array_equal(changed[:1], corrupt(x[:1], name, severity, seed=3))  # whatever stands beside it
        changes.append(float(np.abs(changed - x).mean()))
    assert 0 < changes[0] < changes[1] < changes[2]
    random = name in ("motion", "fog", "rain", "night")
    assert random != np.array_equal(corrupt(x, name, 2, seed=3), corrupt(x, name, 2, seed=4))


def test_a_blur_of_the_camera_keeps_the_light_and_the_night_takes_it() -> None:
    x = picture(3)
    for name in ("defocus", "motion"):
        assert corrupt(x, name, 3).mean() == pytest.approx(x.mean(), abs=0.01)
    assert corrupt(x, "night", 3).mean() == pytest.approx(0.1 * x.mean(), abs=0.01)
    fog = corrupt(x, "fog", 3)
    assert fog.std() < 0.6 * x.std()


def test_the_command_knows_the_corruptions_without_opencv() -> None:
    assert tuple(CORRUPTIONS) == CORRUPTION_NAMES


def test_other_corruptions_are_refused() -> None:
    with pytest.raises(ContractError, match="corruption 'snow'"):
        corrupt(picture(3), "snow", 1)
    with pytest.raises(ContractError, match="severity 4"):
        corrupt(picture(3), "fog", 4)
    assert corrupt(picture(3)[:0], "fog", 1).shape == (0, 3, 32, 32)


def test_the_toy_is_right_before_the_attacks() -> None:
    assert (judge(toy().images[:COUNT]) == toy().labels[:COUNT]).all() and CLASSES == 4
