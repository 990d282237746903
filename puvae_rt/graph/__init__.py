"""The model as an ONNX graph: the straightforward deployment, the passes over it, and its files."""

from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def code_digest() -> str:
    """Hex sha256 of the code that makes graphs: an engine that older code made is another engine."""
    folder = Path(__file__).parent
    digest = sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
