"""GPUs by compute capability: which TensorRT-RTX serves, and which names of them an installed release has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from puvae_rt.device.emulated import EmulatedDevice
from puvae_rt.device.emulated.device import EMULATED
from puvae_rt.errors import ContractError, TargetUnavailableError
from puvae_rt.gpu.tensorrt import library
from puvae_rt.gpu.tensorrt.library import COMPUTE_CAPABILITIES, DEFAULT_COMPUTE_CAPABILITIES, check_compute_capabilities
from puvae_rt.runtime import on_demand
from puvae_rt.runtime.assets import shipped

API = json.loads((Path(__file__).parents[1] / "contracts/tensorrt.json").read_text())
RELEASES = {release.split()[1]: api for release, api in API.items() if release.startswith("rtx")}


def installed(version: str) -> Any:
    names = RELEASES[version]["classes"]["ComputeCapability"]
    return SimpleNamespace(
        __name__="tensorrt_rtx", __version__=version, ComputeCapability=SimpleNamespace(**dict.fromkeys(names))
    )


@pytest.mark.parametrize("version", RELEASES)
def test_the_default_names_no_gpu_that_the_installed_release_has_no_name_for(monkeypatch, version: str) -> None:
    monkeypatch.setattr(library, "load", lambda target: installed(version))
    chosen = check_compute_capabilities("rtx", None)
    assert set(chosen) == {
        c
        for c in DEFAULT_COMPUTE_CAPABILITIES
        if hasattr(installed(version).ComputeCapability, f"SM{c.replace('.', '')}")
    }
    assert library.shared_capabilities("rtx", (8, 6)) == chosen


def test_every_name_is_in_the_latest_release() -> None:
    latest = installed(max(RELEASES))
    assert library.named(latest) == COMPUTE_CAPABILITIES
    assert library.named(installed("1.4.0.76")) == tuple(c for c in COMPUTE_CAPABILITIES if c != "12.1")


def test_a_gpu_that_is_asked_for_and_has_no_name_yet_is_told(monkeypatch) -> None:
    monkeypatch.setattr(library, "load", lambda target: installed("1.4.0.76"))
    with pytest.raises(ContractError, match=r"12\.1: tensorrt_rtx 1\.4\.0\.76 does not know it, expected some of 7\.5"):
        check_compute_capabilities("rtx", ("8.6", "12.1"))
    assert check_compute_capabilities("rtx", ("8.6", "7.5")) == ("7.5", "8.6")
    assert check_compute_capabilities("rtx", ("any",)) == ()
    assert library.capabilities_for("rtx", (12, 1)) == (), "compiled for every GPU: it has no other name for this one"


def test_settings_can_be_made_where_the_library_is_missing(monkeypatch) -> None:
    def missing(target: str) -> Any:
        raise TargetUnavailableError("not installed")

    monkeypatch.setattr(library, "load", missing)
    assert check_compute_capabilities("rtx", None) == DEFAULT_COMPUTE_CAPABILITIES
    assert check_compute_capabilities("rtx", ("12.1",)) == ("12.1",)


def test_an_engine_that_is_built_for_this_machine_is_kept_for_its_gpu(monkeypatch, tmp_path: Path) -> None:
    slots = []
    monkeypatch.setattr(library, "load", lambda target: SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setattr(on_demand.cache, "obtain", lambda name, identity, make: slots.append(identity) or tmp_path)
    gpus = [("Orin", (8, 7)), ("Orin", (8, 6)), ("H100", (9, 0)), ("H100", (9, 0))]
    for name, capability in gpus:
        properties = dataclasses.replace(EMULATED, name=name, compute_capability=capability)
        with EmulatedDevice(properties=properties) as device:
            on_demand.bundle_of(shipped("mnist"), "tensorrt", device)
    assert [slot["gpu"] for slot in slots] == ["Orin, 8.7", "Orin, 8.6", "H100, 9.0", "H100, 9.0"]
    assert {slot["build"] for slot in slots} == {library.BUILD}, "an engine built with other settings is not taken"


def test_a_device_that_is_not_there_is_told_before_anything_is_built(monkeypatch) -> None:
    monkeypatch.setattr(library, "load", lambda target: SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setattr(on_demand, "build_on_demand", lambda *a: pytest.fail("a minute of building"))
    with pytest.raises(ContractError, match="vulkan"):
        on_demand.bundle_of(shipped("mnist"), "tensorrt", "vulkan")
