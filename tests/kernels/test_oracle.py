"""The NumPy twins against the libraries that they stand for, at more sizes than a kernel on the shim could run."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from puvae_rt.contract import ImageContract
from puvae_rt.kernels import oracle
from puvae_rt.models.puvae import split_phases
from puvae_rt.runtime.preprocess import as_input
from tests.kernels.frames import assert_within_one_level, frames, opencv, regions_of, seeds


@settings(max_examples=200, deadline=None)
@given(st.data(), frames(), seeds, st.booleans(), st.sampled_from((1, 3)), st.sampled_from((28, 32)))
def test_oracle_is_within_one_level_of_opencv(data, frame, seed, smooth, channels, side):
    array, region = frame.random(seed, smooth), data.draw(regions_of(frame, longest=400))
    want = as_input(opencv(array, frame.pixels), region, ImageContract(channels, side, side))
    got = oracle.preprocess(array, [region], frame.pixels, channels, side, side)
    assert_within_one_level(got, want)


def test_every_nv12_chroma_is_opencvs():
    """Equal, not only close; 16 lumas each."""
    u, v = np.meshgrid(np.arange(256), np.arange(256))
    chroma = np.stack([u, v], axis=2).astype(np.uint8).reshape(256, 512)
    for seed in range(4):
        luma = np.random.default_rng(seed).integers(0, 256, (512, 512), dtype=np.uint8)
        frame = np.concatenate([luma, chroma])
        np.testing.assert_array_equal(oracle.rgb_of_nv12(frame), cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12))


def test_phases_are_those_of_the_model():
    image = np.random.default_rng(0).random((3, 3, 12, 14), np.float32)
    np.testing.assert_array_equal(oracle.split_phases(image), split_phases(torch.from_numpy(image)).numpy())
