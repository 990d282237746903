"""ONNX files: written with our description, and read as untrusted input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from puvae_rt.contract import IMAGE, NOISE
from puvae_rt.errors import BuildError
from puvae_rt.graph.description import Description
from puvae_rt.graph.graph import BATCH, OPSET, Graph, Tensor
from puvae_rt.graph.selection import selection_outputs
from puvae_rt.models.spec import LATENT

MAX_FILE_BYTES = 1 << 30
MAX_NODES = 1000
_REMEDY = "give an .onnx that export.build or export.assets wrote"


def write_onnx(path: Path, graph: Graph, description: Description) -> None:
    path.write_bytes(graph.to_model(description.to_metadata()).SerializeToString())


def read_puvae(path: Path) -> tuple[Graph, Description]:
    """A whole PuVAE graph (image -> purified, label, rmse, score); BuildError when it is anything else."""
    model = read_model(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    description = Description.from_metadata(metadata, str(path))
    graph = Graph.from_model(model)
    _check_tensors(path, graph.inputs, contract_inputs(description))
    _check_tensors(path, graph.outputs, selection_outputs(description.contract, len(description.classes)))
    return graph, description


def read_model(path: Path) -> ModelProto:
    """A checked, self-contained model of plain operators; nothing outside the file is read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BuildError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; {_REMEDY}")
        model = onnx.load_model_from_string(path.read_bytes())
        _check_plain(path, model)
        onnx.checker.check_model(model, full_check=True)
    except BuildError:
        raise
    except Exception as error:  # of several native libraries: no common base
        raise BuildError(f"{path}: not a sound ONNX model ({_first_line(error)}); {_REMEDY}") from error
    return model


def contract_inputs(description: Description) -> list[Tensor]:
    inputs = [Tensor(IMAGE, np.float32, (BATCH, *description.contract.shape))]
    if description.sigma > 0:
        inputs.append(Tensor(NOISE, np.float32, (BATCH, len(description.classes), LATENT)))
    return inputs


def _check_plain(path: Path, model: ModelProto) -> None:
    """No external data, functions, subgraphs or custom operators."""
    graph = model.graph
    if len(graph.node) > MAX_NODES or model.functions or graph.sparse_initializer:
        raise BuildError(f"{path}: {len(graph.node)} nodes, functions or sparse data; {_REMEDY}")
    if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(model)):
        raise BuildError(f"{path}: keeps data in other files, expected one self-contained file; {_REMEDY}")
    for node in graph.node:
        if node.domain or any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise BuildError(f"{path}: node {node.name!r} is custom or holds a graph; {_REMEDY}")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise BuildError(f"{path}: operator sets {opsets}, expected {OPSET}; {_REMEDY}")


def _tensors(model: ModelProto) -> list[TensorProto]:
    inside = [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    return [*model.graph.initializer, *inside]


def _check_tensors(path: Path, got: list[Tensor], expected: list[Tensor]) -> None:
    if [_signature(tensor) for tensor in got] != [_signature(tensor) for tensor in expected]:
        raise BuildError(f"{path}: tensors {_show(got)}, expected {_show(expected)}; {_REMEDY}")


def _signature(tensor: Tensor) -> tuple[object, ...]:
    free_batch = tuple(-1 if isinstance(side, str) else side for side in tensor.shape)
    return tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), free_batch


def _show(tensors: list[Tensor]) -> str:
    return ", ".join(f"{t.name} {np.dtype(t.dtype).name}{list(t.shape)}" for t in tensors) or "none"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
