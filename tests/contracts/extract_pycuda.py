"""Writes tests/contracts/pycuda.json: the names that PyCUDA's C++ wrapper exports, from its source distribution.

pip download --no-deps --no-binary :all: -d sources pycuda==2026.1 && tar xf sources/pycuda-2026.1.tar.gz
python -m tests.contracts.extract_pycuda pycuda-2026.1
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

OUTPUT = Path(__file__).with_name("pycuda.json")
FACTS = (
    r'py::def\("(\w+)"',
    r'\.def\("(\w+)"',
    r"DEF_SIMPLE_(?:METHOD|FUNCTION)\((\w+)\)",
    r'add_property\("(\w+)"',
    r'class_<[^"]*?\n?\s*(?:\w+\s*)?\(\s*"(\w+)"',
    r'enum_<\w+>\("(\w+)"',
    r'\.value\("(\w+)"',
    r'attr\("(\w+)"\)',
    r'DECLARE_EXC\((\w+)',
)  # fmt: skip
PYTHON = r"^\s+(?:Function|Device|drv)\.(\w+) = "  # added by pycuda/driver.py


def main(folder: Path) -> None:
    wrapper = (folder / "src/wrapper/wrap_cudadrv.cpp").read_text()
    names = {name for pattern in FACTS for name in re.findall(pattern, wrapper)}
    names |= set(re.findall(PYTHON, (folder / "pycuda/driver.py").read_text(), re.M))
    OUTPUT.write_text(json.dumps(sorted(names), indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
