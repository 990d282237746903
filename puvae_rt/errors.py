"""Typed errors. Every message says what was got, what was expected and how to mend it."""

from __future__ import annotations


def number_text(value: float) -> str:
    """A number as a message shows it: short, and with as many digits as tell it from every other."""
    short = f"{value:g}"
    return short if float(short) == value or value != value else str(value)


def escaped(text: str) -> str:
    """The text with all that is not printable escaped, so that it fits any encoding and does nothing to a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


class PuvaeError(Exception):
    """Base of every error raised on purpose by this package. Its text is printable, whatever a file's name holds."""

    def __str__(self) -> str:
        return escaped(self._text())

    def _text(self) -> str:
        return super().__str__()


class ContractError(PuvaeError, ValueError):
    """A setting or a model that the package's contract does not allow."""


class InputError(PuvaeError, ValueError):
    """An image, frame or region of the wrong shape, type, range, or with NaN."""


class DataError(PuvaeError, ValueError):
    """A dataset that is missing, damaged, or not of the documented form."""


class BundleError(PuvaeError):
    """A bundle that is incomplete, damaged, or built for something else."""


class UnknownModelError(PuvaeError, KeyError):
    """A model name that is neither shipped nor a bundle's path."""

    def _text(self) -> str:  # KeyError would show the repr
        return str(self.args[0]) if self.args else ""


class TargetUnavailableError(PuvaeError):
    """The target's libraries or device are absent here."""


class DeviceError(PuvaeError):
    """A call of CUDA or TensorRT that failed: the call, its code's name, and how to mend it.

    Attributes:
        call: the function, e.g. "cuMemAlloc".
        code: the status by name, e.g. "CUDA_ERROR_OUT_OF_MEMORY".
    """

    def __init__(self, call: str, code: str, message: str) -> None:
        super().__init__(f"{call}: {code}: {message}")
        self.call, self.code = call, code


class BuildError(PuvaeError):
    """An engine that could not be built as asked."""


class ToolchainError(PuvaeError):
    """The build tools that come with this package are missing, or another module has taken their name."""


class EngineError(PuvaeError, RuntimeError):
    """An engine or a classifier that failed while it ran, or gave something else than its form promises."""


class DegradedError(PuvaeError, RuntimeError):
    """A frame without a good answer, where a guard was told to stop at one."""


class QualityError(PuvaeError):
    """An engine that was built but does not pass the quality gate."""


class FileError(PuvaeError, OSError):
    """A file or folder that cannot be read, written or locked: an OSError with its number, problem and file name."""

    def _text(self) -> str:
        return f"{self.filename}: {self.strerror}"


class ResultsError(PuvaeError, ValueError):
    """A file of measured results that is damaged or lacks a field."""


class CheckpointError(PuvaeError):
    """A checkpoint that is damaged or belongs to another run."""


class ConcurrencyError(PuvaeError, RuntimeError):
    """One object used from two threads at once where that is not allowed."""


class VideoError(PuvaeError):
    """A video source or sink that cannot be opened, read or written."""


class BenchmarkError(PuvaeError):
    """A measurement that could not be made, or results that must not be compared."""


class ClosedError(PuvaeError, RuntimeError):
    """An object used after its close()."""
