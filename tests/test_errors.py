"""The text of every error fits any encoding, whatever a file is called."""

from __future__ import annotations

import pytest

from puvae_rt import errors
from puvae_rt.errors import DeviceError, FileError, PuvaeError

NAME = "a\udcff\0\x1b[2J\u202e.png"
ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PuvaeError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_name_that_is_not_printable_is_escaped(kind: type[PuvaeError]) -> None:
    given = {FileError: (2, "is absent", NAME), DeviceError: (NAME, "CUDA_ERROR", "no")}.get(kind, (f"{NAME}: no",))
    text = str(kind(*given))
    assert text.isprintable() and text.encode("utf-8")
    assert r"a\udcff\x00\x1b[2J\u202e.png" in text


def test_what_is_printable_stays_as_it_is() -> None:
    assert str(PuvaeError("straße: 2 lines\n  of ü")) == "straße: 2 lines\n  of ü"
    assert str(PuvaeError()) == ""
