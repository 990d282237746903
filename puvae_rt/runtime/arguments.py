"""What a user hands to `Purifier.load`, held against its type before anything is opened."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from puvae_rt.contract import MIN_SHORTLIST
from puvae_rt.errors import ContractError
from puvae_rt.refusal import brief

if TYPE_CHECKING:
    from puvae_rt.device import Device

_MAX_NAME = 200  # characters of a name in a message
MODEL_PRIOR, NO_PRIOR = "model", "none"
PRIORS = (MODEL_PRIOR, NO_PRIOR)


@dataclass(frozen=True)
class Choice:
    """How the projection is chosen, where a model leaves it open; ContractError for anything else.

    Attributes:
        prior: "model" chooses with the model's own prior, if it has one; "none" by distance alone, as in the paper.
        shortlist: how many classes are decoded, those that the prior ranks first; None is the model's own number.
    """

    prior: str = MODEL_PRIOR
    shortlist: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.prior, str) and self.prior in PRIORS):
            raise ContractError(f"prior: got {brief(self.prior)}, expected one of {', '.join(PRIORS)} (--prior)")
        count = self.shortlist
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < MIN_SHORTLIST):
            raise ContractError(
                f"shortlist: got {brief(count)}, expected a number of classes from {MIN_SHORTLIST} up, or None for the "
                "model's own (--shortlist)"
            )

    @property
    def with_prior(self) -> bool:
        """Whether the model's prior is used, if it has one."""
        return self.prior == MODEL_PRIOR


def checked_source(source: Any) -> str | Path:
    """A model's name or a folder; ContractError for anything else, and for what no file can be called."""
    return _name_or_path("source", source, "a shipped model's name or a bundle's folder")


def checked_classifier(classifier: Any) -> bool | str | Path:
    """True, False (None is the same), a name or a file; ContractError for anything else."""
    if classifier is None or isinstance(classifier, bool):
        return bool(classifier)
    expected = "True, False, a shipped classifier's name or an .onnx file"
    if isinstance(classifier, str) and not classifier:  # elsewhere no name means the default one
        raise ContractError(f"classifier: got an empty name, expected {expected}")
    return _name_or_path("classifier", classifier, expected)


def checked_target(target: Any, known: tuple[str, ...]) -> str | None:
    """One of `known` or None; ContractError for anything else."""
    if target is None or (isinstance(target, str) and target in known):
        return target
    raise ContractError(f"target: got {brief(target)}, expected one of {', '.join(known)}")


def checked_seed(seed: Any) -> int | None:
    """An integer from 0 up, or None; ContractError for anything else."""
    if seed is None or (isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0):
        return None if seed is None else int(seed)
    raise ContractError(f"seed: got {brief(seed)}, expected an integer from 0 up, or None for another one at each load")


def checked_device(device: Any) -> str | Device | None:
    """A device's name, an open device, or None; ContractError for anything else."""
    if device is None or isinstance(device, str) or isinstance(getattr(device, "layer", None), str):
        return device  # type: ignore[no-any-return]
    raise ContractError(f"device: got {brief(device)}, expected a name as in 'cuda:1', a device that is open, or None")


def _name_or_path(what: str, value: Any, expected: str) -> str | Path:
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(name, str):
        raise ContractError(f"{what}: got {brief(value)}, expected {expected}")
    if name.startswith("~"):
        with suppress(RuntimeError):  # no such user: then it is a name like any other
            name = str(Path(name).expanduser())
    path = name if isinstance(value, str) else Path(name)
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # a name, or for those to say who look there
    except (OSError, ValueError) as error:  # too long, NUL, a lone surrogate, a folder that may not be entered
        problem = error.strerror if isinstance(error, OSError) else error
        raise ContractError(f"{what}: got {brief(value, _MAX_NAME)} ({problem}), expected {expected}") from error
    return path
