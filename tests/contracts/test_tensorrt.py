"""Our TensorRT code uses only what every supported release has, as extracted from NVIDIA's wheels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contracts.trt_api import MODULE, Use, problem, uses

ROOT = Path(__file__).parents[2]
API = json.loads(Path(__file__).with_name("tensorrt.json").read_text())
SOURCES = sorted((ROOT / "puvae_rt/gpu/tensorrt").glob("*.py"))
RTX_FILES = ("runtime_cache.py",)  # made where there is a CudaGraphStrategy
OLD_FILES = ("weakly_typed.py",)  # asked where there is no STRONGLY_TYPED
LATEST = "tensorrt 11.4.0.106"


def all_uses() -> list[tuple[Path, Use]]:
    """Types are those of TensorRT-RTX's latest, which has every class that is asked for by hasattr."""
    richest = max(API.values(), key=lambda api: len(api["classes"]))
    return [(path, use) for path in SOURCES for use in uses(path, richest)]


def test_the_releases_are_those_promised() -> None:
    got = {release.split(".")[0] + "." + release.split(".")[1] for release in API}
    assert {"tensorrt 8.5", "tensorrt 8.6"} <= got
    assert {"tensorrt 10.3", "tensorrt 10.13", "tensorrt 11.0", "tensorrt 11.4", "rtx 1.7"} <= got


@pytest.mark.parametrize("release", sorted(API))
def test_every_name_and_call_exists(release: str) -> None:
    module = "rtx" if release.startswith("rtx") else "tensorrt"
    old = "STRONGLY_TYPED" not in API[release]["classes"]["NetworkDefinitionCreationFlag"]
    others = (*(() if module == "rtx" else RTX_FILES), *(() if old else OLD_FILES))
    read = [(path, use) for path, use in all_uses() if path.name not in others]
    problems = [f"{path.name} {found}" for path, use in read if (found := problem(use, API[release]))]
    # A compute capability is set for TensorRT-RTX alone, from a list that is empty for TensorRT.
    rtx_only = ("num_compute_capabilities", "set_compute_capability", "ComputeCapability")
    problems = [p for p in problems if module == "rtx" or not any(name in p for name in rtx_only)]
    assert not problems


def test_nothing_that_tensorrt_11_removed_is_used() -> None:
    old, new = API["tensorrt 10.3.0"], API[LATEST]
    removed = {name for name in old["names"] if name not in new["names"]}
    removed |= {m for c, members in old["classes"].items() for m in members if m not in new["classes"].get(c, {})}
    assert {"IInt8EntropyCalibrator2", "FP16", "INT8"} <= removed, "the data knows what was removed"
    text = {use.name for path, use in all_uses() if path.name not in OLD_FILES}
    assert not (removed & text)


def test_the_reader_follows_the_code() -> None:
    found = {(use.owner, use.name) for _, use in all_uses()}
    for expected in [
        (MODULE, "Builder"),
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "add_optimization_profile"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_tensor_address"),
        ("ICudaEngine", "get_tensor_profile_shape"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("OnnxParser", "parse"),
        ("IRuntimeCache", "deserialize"),
        ("ILayer", "set_output_type"),
        ("ILayer", "precision"),
        ("IBuilderConfig", "set_preview_feature"),
        ("IRuntimeConfig", "set_runtime_cache"),
        ("Runtime", "deserialize_cuda_engine"),
    ]:
        assert expected in found


@pytest.mark.parametrize(
    "code, complaint",
    [
        ("def f(trt):\n    trt.Builder(1)", None),
        ("def f(trt):\n    trt.Builder(1, 2, 3)", "takes"),
        ("def f(builder):\n    builder.build_engine(1, 2)", "no Builder.build_engine"),
        ("def f(builder):\n    builder.create_network(1, 2)", "takes"),
        (
            "def f(builder):\n    config = builder.create_builder_config()\n    config.max_workspace_size = 1",
            "no IBuil",
        ),
        ("def f(trt):\n    x = trt.Runtime(None)\n    x.deserialize_cuda_engine(b'', oops=1)", "takes"),
        ("def f(trt):\n    trt.BuilderFlag.FP16", "no BuilderFlag.FP16"),
        ("def f(trt):\n    trt.IInt8Calibrator", "no IInt8Calibrator"),
        ("class A:\n    def f(self):\n        self._context.execute_async_v2(1)", "no IExecutionContext"),
        ("def f(trt):\n    if hasattr(trt, 'CudaGraphStrategy'):\n        trt.CudaGraphStrategy.DISABLED", None),
        ("def f(trt):\n    trt.CudaGraphStrategy.DISABLED", "no CudaGraphStrategy"),
    ],
)
def test_mistakes_are_found(code: str, complaint: str | None) -> None:
    found = [p for use in uses(code, API[LATEST]) if (p := problem(use, API[LATEST]))]
    assert (not found) if complaint is None else (found and complaint in found[0])
