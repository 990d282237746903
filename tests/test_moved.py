"""Old import paths go on working until 0.3."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from puvae_rt._moved import MOVED, new_name, renamed


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_is_the_new_module_and_warns(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {MOVED[old]}") as caught:
        module = import_module(old)
    assert module is import_module(MOVED[old])
    assert module.__spec__ is not None and module.__spec__.name == MOVED[old]
    assert caught


def test_what_lies_below_an_old_package_is_found_below_its_new_one() -> None:
    assert new_name("puvae_rt.robustness.radii") == "puvae_rt.attacks.radii"
    assert new_name("puvae_rt.robustness.defences.puvae") == "puvae_rt.defenses.puvae"
    assert new_name("puvae_rt.runtime.cache") is None


def test_the_warning_names_the_file_that_imports() -> None:
    code = "import puvae_rt\nfrom puvae_rt.runtime.device import open_device"
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", code]
    assert (
        "DeprecationWarning: puvae_rt.runtime.device is now"
        in subprocess.run(command, capture_output=True, text=True, check=False).stderr
    )


def test_the_package_alone_imports_little() -> None:
    """What comes with it delays every command, and Ctrl-C meanwhile is answered with a traceback."""
    code = "import sys, puvae_rt, puvae_rt.data.known; print({'numpy', 'cv2', 'tempfile'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_python_m_runs_a_module_by_its_old_name() -> None:
    command = [sys.executable, "-m", "puvae_rt.benchmark.command", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "usage" in done.stdout


def test_an_old_name_gives_the_new_one_and_warns() -> None:
    in_module = renamed("puvae_rt.contract", {"PictureContract": "ImageContract"})
    with pytest.warns(DeprecationWarning, match=r"puvae_rt\.contract\.PictureContract is now ImageContract; .* 0\.3"):
        assert in_module("PictureContract") is import_module("puvae_rt.contract").ImageContract
    elsewhere = renamed("puvae_rt.errors", {"Picture": "puvae_rt.contract:ImageContract"})
    with pytest.warns(DeprecationWarning, match=r"errors\.Picture is now puvae_rt\.contract\.ImageContract"):
        assert elsewhere("Picture") is import_module("puvae_rt.contract").ImageContract
    with pytest.raises(AttributeError, match=r"module 'puvae_rt\.errors' has no attribute 'Absent'"):
        elsewhere("Absent")
