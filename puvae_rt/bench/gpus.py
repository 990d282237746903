"""Published figures of GPUs, for the model in gpu_model.py. Nothing here was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One product.

    Attributes:
        name: as sold.
        bandwidth: of its memory, bytes a second.
        fp32: multiply-adds a second times two, on the CUDA cores.
        fp16: the same on the tensor cores, dense, adding up in FP32.
        integrated: shares the host's memory: nothing is copied.
        source: of the figures.
    """

    name: str
    bandwidth: float
    fp32: float
    fp16: float
    integrated: bool
    source: str


GPUS = {
    "orin-nano": Gpu(
        "Jetson Orin Nano 8GB (Super)",
        102e9,
        2.09e12,
        17e12,
        True,
        "NVIDIA, Jetson Orin Nano Super Developer Kit: 102 GB/s, 17 TFLOPS FP16 dense; FP32: 1,024 cores at 1.02 GHz",
    ),
    "agx-orin": Gpu(
        "Jetson AGX Orin 64GB",
        204.8e9,
        5.3e12,
        42.5e12,
        True,
        "NVIDIA, Jetson AGX Orin Series technical brief: 204.8 GB/s, 5.3 TFLOPS FP32, 170 sparse INT8 TOPS on the GPU; "
        "FP16 dense: a quarter of that",
    ),
    "thor": Gpu(
        "Jetson AGX Thor (T5000)",
        273e9,
        8.1e12,
        259e12,
        True,
        "NVIDIA, Jetson Thor data sheet: 273 GB/s, 2,070 sparse FP4 TFLOPS, 2,560 cores at 1.575 GHz; FP16 dense: an "
        "eighth of the sparse FP4 figure",
    ),
    "rtx4060": Gpu(
        "GeForce RTX 4060",
        272e9,
        15.1e12,
        30.2e12,
        False,
        "NVIDIA, GeForce RTX 4060 specifications: 272 GB/s, 15 TFLOPS FP32; FP16 with FP32 sums: twice that, as in the "
        "Ada architecture white paper",
    ),
    "rtx4090": Gpu(
        "GeForce RTX 4090",
        1008e9,
        82.6e12,
        165.2e12,
        False,
        "NVIDIA, Ada GPU architecture white paper, table of the RTX 4090: 1,008 GB/s, 82.6 TFLOPS FP32, 165.2 TFLOPS "
        "FP16 with FP32 sums, dense",
    ),
    "h100": Gpu(
        "H100 SXM5 80GB",
        3350e9,
        66.9e12,
        989.4e12,
        False,
        "NVIDIA, H100 Tensor Core GPU architecture white paper: 3,350 GB/s, 66.9 TFLOPS FP32, 989.4 TFLOPS FP16 dense",
    ),
    "h200": Gpu(
        "H200 SXM 141GB",
        4800e9,
        66.9e12,
        989.4e12,
        False,
        "NVIDIA, H200 data sheet: 4.8 TB/s; its multiprocessors and clocks are the H100 SXM5's: 66.9 TFLOPS FP32, "
        "989.4 TFLOPS FP16 dense",
    ),
}
