"""Augmentation stays within its bounds, and is none where the bounds are zero."""

from __future__ import annotations

import torch

from puvae_rt.training import tasks


def test_every_image_is_changed_and_stays_in_range() -> None:
    torch.manual_seed(0)
    x = torch.rand(8, 3, 32, 32)
    y = tasks.augment(x)
    assert y.shape == x.shape and float(y.min()) >= 0 and float(y.max()) <= 1
    assert all(not torch.allclose(a, b, atol=0.05) for a, b in zip(x, y, strict=True))


def test_without_bounds_nothing_moves() -> None:
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(tasks.augment(x, turn=0, zoom=0, shift=0, light=0), x)


def test_light_alone_is_a_factor() -> None:
    x = torch.full((4, 3, 8, 8), 0.3)
    factors = tasks.augment(x, turn=0, zoom=0, shift=0)[:, 0, 0, 0] / 0.3
    assert float(factors.max()) <= 1.36 and float(factors.min()) >= 0.74 and float(factors.std()) > 0
