"""TensorRT 8.5's builder, to see what it is told: one layer for an operator, two for a Gemm, and the inspector's list.

Its names and signatures are held to TensorRT's own by test_weakly_typed.py. `obedient` is whether layers come out in
the precision that they were given, as OBEY_PRECISION_CONSTRAINTS promises.
"""

from __future__ import annotations

import json
import math
from enum import Enum
from types import SimpleNamespace
from typing import Any

import onnx
from onnx import TensorProto

LAYERS = {"Conv": "CONVOLUTION", "ConvTranspose": "DECONVOLUTION"}
LAYERS |= {"Cast": "IDENTITY", "Constant": "CONSTANT", "Shape": "SHAPE"}
FORMATS = {"HALF": "Row major linear FP16 format", "FLOAT": "Row major linear FP32"}
WEIGHTS = {"HALF": "Half", "FLOAT": "Float"}


class DataType(Enum):
    FLOAT, HALF, INT32 = range(3)


class ILayer:
    def __init__(self, name: str, kind: str, outputs: list[str], weights: int = 0) -> None:
        self.name, self.type, self.weights = name, SimpleNamespace(name=kind), weights
        self.outputs = [SimpleNamespace(name=output, dtype=DataType.FLOAT) for output in outputs]
        self.num_outputs, self.precision, self.output_types = len(outputs), None, {}

    def get_output(self, index: int) -> Any:
        return self.outputs[index]

    def set_output_type(self, index: int, dtype: DataType) -> None:
        self.output_types[index] = dtype


class FakeTensorrt8:
    """The module."""

    __version__ = "8.5.3.1"
    DataType = DataType
    BuilderFlag = Enum("BuilderFlag", "TF32 FP16 OBEY_PRECISION_CONSTRAINTS")
    NetworkDefinitionCreationFlag = SimpleNamespace(EXPLICIT_BATCH=0)
    PreviewFeature = SimpleNamespace(DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805="no cuDNN")
    ProfilingVerbosity = SimpleNamespace(DETAILED=1)
    LayerInformationFormat = SimpleNamespace(JSON=1)

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None: ...

    def __init__(self, obedient: bool = True) -> None:
        self.obedient, self.flags, self.features = obedient, set(), set()
        self.layers: list[ILayer] = []

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=self._config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: None),
            build_serialized_network=self._build,
        )

    def _network(self, flags: int) -> Any:
        assert flags == 1, "EXPLICIT_BATCH"
        return self

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_output(self, index: int) -> Any:
        return self.outputs[index]

    def _config(self) -> Any:
        return SimpleNamespace(
            set_flag=self.flags.add,
            clear_flag=self.flags.discard,
            set_preview_feature=lambda feature, enable: self.features.add(feature),
            add_optimization_profile=lambda profile: 0,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(parse=self._parse, num_errors=0)

    def _parse(self, model: bytes) -> bool:
        proto = onnx.load_model_from_string(model)
        onnx.checker.check_model(proto)
        if proto.opset_import[0].version > 17:
            return False
        floats = [t for t in proto.graph.initializer if t.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)]
        sizes = {tensor.name: math.prod(tensor.dims) for tensor in floats}
        for node in proto.graph.node:
            count = sum(sizes.get(name, 0) for name in node.input)
            outputs = list(node.output)
            if node.op_type == "Gemm":  # a product, whose output has no name of the model's, and a sum
                product = f"(Unnamed Layer* {len(self.layers)})"
                self.layers.append(ILayer(node.name, "MATRIX_MULTIPLY", [product], count))
                self.layers.append(ILayer(f"{node.name}_1", "ELEMENTWISE", outputs))
            else:
                self.layers.append(ILayer(node.name, LAYERS.get(node.op_type, "SHUFFLE"), outputs, count))
        names = [output.name for output in proto.graph.output]
        tensors = {output.name: output for layer in self.layers for output in layer.outputs}
        self.outputs = [tensors[name] for name in names]
        return True

    def _build(self, network: Any, config: Any) -> bytes:
        half = self.BuilderFlag.FP16 in self.flags
        obeys = self.obedient and self.BuilderFlag.OBEY_PRECISION_CONSTRAINTS in self.flags
        entries = []
        for number, layer in enumerate(self.layers):
            free = "HALF" if half and number % 2 else "FLOAT"  # as it likes
            told = layer.precision is not None and obeys
            kind = layer.precision.name if told else free
            told_types = layer.output_types if told else {}
            types = [told_types[i].name if i in told_types else kind for i in range(layer.num_outputs)]
            outputs = [
                {"Name": output.name, "Dimensions": [-1, 1], "Format/Datatype": FORMATS[type_]}
                for output, type_ in zip(layer.outputs, types, strict=True)
            ]
            entry = {"Name": layer.name, "LayerType": layer.type.name.title(), "Inputs": [], "Outputs": outputs}
            if layer.weights:
                entry["Weights"] = {"Type": WEIGHTS[kind], "Count": layer.weights}
            entries.append(entry)
        return json.dumps({"Layers": entries}).encode()

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        def inspector(plan: bytes) -> Any:
            return SimpleNamespace(get_engine_information=lambda format: plan.decode())

        engine = lambda plan: SimpleNamespace(create_engine_inspector=lambda: inspector(plan))  # noqa: E731
        return SimpleNamespace(deserialize_cuda_engine=engine)
