"""Writes tests/contracts/tensorrt.json: names and signatures of TensorRT's Python API, version by version.

    pip download --no-deps -d wheels tensorrt-cu13-bindings==11.4.0.106   # and the other versions
    pip download --no-deps -d wheels --python-version 3.10 --only-binary=:all: tensorrt==8.5.3.1   # 8.6.0 as well
    python -m tests.contracts.extract_tensorrt wheels/*.whl

The bindings' wheels come without NVIDIA's libraries, or those stay packed. They are imported over empty ones, made on
the spot: enough to look at every class, too little to call anything. A wheel for another Python takes `python3.10` from
the PATH.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUTPUT = Path(__file__).with_name("tensorrt.json")
CLASSES = (
    "Builder BuilderFlag ComputeCapability CudaGraphStrategy DataType DynamicShapesKernelSpecializationStrategy "
    "EngineInspector ErrorCode ExecutionContextAllocationStrategy HardwareCompatibilityLevel IBuilderConfig "
    "ICudaEngine IExecutionContext IHostMemory ILayer ILogger INetworkDefinition IOptimizationProfile IProfiler "
    "IProgressMonitor IRuntimeCache IRuntimeConfig ITensor LayerInformationFormat LayerType Logger MemoryPoolType "
    "NetworkDefinitionCreationFlag OnnxParser ParserError PreviewFeature ProfilingVerbosity Runtime TensorIOMode"
)
ANYTHING = ["*"]
INSPECT = """
import inspect, json, sys
sys.path.insert(0, sys.argv[1])
module = __import__(sys.argv[2])
def signature(member):
    return (member.__doc__ or "") if callable(member) else None
classes = {}
for name in sys.argv[3].split():
    if (found := getattr(module, name, None)) is not None:
        names = [n for n in dir(found) if not n.startswith("_") or n == "__init__"]
        classes[name] = {n: signature(getattr(found, n)) for n in names}
names = sorted(n for n in dir(module) if not n.startswith("_"))
json.dump({"version": module.__version__, "names": names, "classes": classes}, sys.stdout)
"""


def main(wheels: list[str]) -> None:
    document = {}
    for wheel in map(Path, wheels):
        distribution, version = wheel.name.split("-")[:2]
        flavour = "rtx" if "_rtx_" in distribution else "tensorrt"
        document[f"{flavour} {version}"] = describe(wheel)
    OUTPUT.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n")


def describe(wheel: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        packed = zipfile.ZipFile(wheel)
        packed.extractall(folder, [name for name in packed.namelist() if not Path(name).name.startswith("lib")])
        package = next(p.parent for p in Path(folder).glob("*/__init__.py"))
        library = next(package.glob("tensorrt*.so"))
        stubs = Path(folder, "stubs")
        stubs.mkdir()
        make_stubs(library, stubs)
        command = [interpreter(wheel), "-c", INSPECT, folder, package.name, CLASSES]
        done = subprocess.run(
            command, env={"LD_LIBRARY_PATH": str(stubs), "PATH": os.environ["PATH"]}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{wheel}: {done.stderr}")
    raw = json.loads(done.stdout)
    classes = {name: {m: overloads(m, doc) for m, doc in members.items()} for name, members in raw["classes"].items()}
    returned = {name: {m: returns(doc) for m, doc in members.items()} for name, members in raw["classes"].items()}
    returned = {name: {m: r for m, r in members.items() if r} for name, members in returned.items()}
    return {"names": raw["names"], "classes": classes, "returns": returned}


def interpreter(wheel: Path) -> str:
    """What the bindings are for, by the wheel's name."""
    major, minor = re.search(r"-cp(\d)(\d+)-", wheel.name).groups()  # type: ignore[union-attr]
    same = (int(major), int(minor)) == sys.version_info[:2]
    return sys.executable if same else f"python{major}.{minor}"


def make_stubs(library: Path, folder: Path) -> None:
    """Every library that the bindings need and this machine lacks, each with every function they lack."""
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\[(lib(?:nv|tensorrt)[^\]]+)\]", dynamic)
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout
    missing = [s for s in re.findall(r" U (\w+)$", symbols, re.M) if not s.startswith(("Py", "_Py", "dl"))]
    source = folder / "empty.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in missing))
    for name in needed:
        subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source], check=True)


def overloads(name: str, doc: str | None) -> list[list[str]] | None:
    """The parameters of each overload, an optional one ending in "=", "*" for any; None for what is no function.

    pybind11 writes signatures as the first line of a docstring, or one to a line when there are several.
    """
    if doc is None:
        return None
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\)(?: -> .*)?$", doc, re.M)
    found = [list(names) for names in dict.fromkeys(tuple(parameters(line)) for line in lines)]
    return [names for names in found if names != ANYTHING] or [ANYTHING]  # a list of overloads begins with one for any


def returns(doc: str | None) -> str | None:
    """The TensorRT class that a method gives back."""
    found = re.search(r"-> tensorrt(?:_rtx)?(?:_bindings)?(?:\.\w+)*?\.(\w+)$", doc or "", re.M)
    return found[1] if found else None


def parameters(line: str) -> list[str]:
    found, depth, current = [], 0, ""
    for character in line + ",":
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += character
    names = [p.partition(":")[0].partition("=")[0].strip() + ("=" if "=" in p else "") for p in found if p]
    if any(name.startswith("*") for name in names):
        return ANYTHING
    return names[1:] if names and names[0] == "self" else names


if __name__ == "__main__":
    main(sys.argv[1:])
