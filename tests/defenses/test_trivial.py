"""Defenses without anything learned: what each leaves of an image, and what it refuses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from puvae_rt.contract import ImageContract
from puvae_rt.defenses.trivial import BitDepth, Jpeg, Median, Threshold
from puvae_rt.errors import ContractError
from tests.tolerances import ONE_LEVEL, PIXEL_ATOL

GRAY, COLOR = ImageContract(1, 28, 28), ImageContract(3, 32, 32)


def images(contract: ImageContract, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *contract.shape, generator=torch.Generator().manual_seed(0))


def smooth(contract: ImageContract) -> torch.Tensor:
    """Two images [C,H,W] that a JPEG keeps: a ramp in each channel, up in the first and down in the last."""
    ramp = torch.linspace(0, 1, contract.width).expand(contract.height, -1)
    channels = torch.stack([ramp, 0.5 * ramp, 1 - ramp][: contract.channels])
    return torch.stack([channels, channels.flip(2)])


@pytest.mark.parametrize("defense", [Threshold(), BitDepth(), Jpeg(), Median()], ids=str)
@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
def test_images_keep_their_form_and_range(defense: Threshold, contract: ImageContract) -> None:
    x = images(contract)
    before, purified = x.clone(), defense.purify(x)
    assert purified.shape == x.shape and purified.dtype == x.dtype
    assert purified.min() >= 0 and purified.max() <= 1
    assert torch.equal(x, before) and not torch.equal(purified, x)


def test_a_threshold_takes_away_whatever_does_not_cross_it() -> None:
    black_and_white = (images(GRAY) > 0.5).float()
    moved = (black_and_white + 0.49 * (2 * images(GRAY) - 1)).clamp(0, 1)
    assert torch.equal(Threshold().purify(moved), black_and_white)
    assert Threshold().purify(torch.tensor([0.5, 0.501])).tolist() == [0, 1]
    assert Threshold(0.2).purify(torch.tensor([0.19, 0.21])).tolist() == [0, 1]


def test_one_bit_is_the_threshold_and_color_has_four() -> None:
    assert torch.equal(BitDepth().purify(images(GRAY)), Threshold().purify(images(GRAY)))
    purified = BitDepth().purify(images(COLOR))
    assert len(purified.unique()) == 16
    assert (purified - images(COLOR)).abs().max() <= 0.5 / 15 + PIXEL_ATOL


def test_eight_bits_change_nothing_that_was_stored_in_eight() -> None:
    stored = torch.arange(256).view(1, 1, 16, 16) / 255
    torch.testing.assert_close(BitDepth(8, 8).purify(stored), stored, rtol=0, atol=PIXEL_ATOL)


@pytest.mark.parametrize("contract", [GRAY, COLOR], ids=["gray", "color"])
def test_a_jpeg_keeps_what_is_smooth_with_every_channel_in_its_place(contract: ImageContract) -> None:
    kept = Jpeg().purify(smooth(contract))
    assert (kept - smooth(contract)).abs().mean() < 4 * ONE_LEVEL
    noise = images(contract)
    assert (Jpeg().purify(noise) - noise).abs().mean() > 4 * ONE_LEVEL
    best, worst = ((Jpeg(quality).purify(noise) - noise).square().mean() for quality in (100, 1))
    assert best < 0.7 * worst


def test_the_median_is_that_of_opencv() -> None:
    x = images(COLOR)
    expected = np.stack([cv2.medianBlur(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), 3) for image in x])
    assert torch.equal(Median().purify(x), torch.from_numpy(expected).permute(0, 3, 1, 2))


def test_the_median_takes_single_pixels_away() -> None:
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, ::4, ::4] = 1
    assert not Median().purify(x).any()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Threshold(0.0), "level=0.0: expected 0 < level < 1"),
        (lambda: Threshold(float("nan")), "level=nan"),
        (lambda: BitDepth(0), "gray_bits=0: expected 1 to 8"),
        (lambda: BitDepth(color_bits=9), "color_bits=9"),
        (lambda: Jpeg(0), "quality=0: expected 1 to 100"),
        (lambda: Jpeg(101), "quality=101"),
        (lambda: Median(4), "window=4: expected an odd"),
        (lambda: Median(1), "window=1"),
        (lambda: Jpeg().purify(torch.rand(1, 2, 8, 8)), "2 channels: a JPEG has 1 .gray. or 3"),
    ],
)
def test_impossible_settings_are_refused(make: object, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        make()  # type: ignore[operator]
