"""The product's pipeline with PyTorch in TensorRT's place: values, graphs, latencies, and memory over many frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from puvae_rt.device import open_device
from puvae_rt.gpu.pipeline import GpuPipeline
from tests.cuda import torch_engine
from tests.gpu_day import measure
from tests.gpu_day.stage import Day


@contextmanager
def opened(day: Day, model: str, search: bool = True) -> Iterator[GpuPipeline]:
    """Yield a model's pipeline, FP32 being FP32. `search`: for the fastest convolutions, which a thread does anew."""
    torch = torch_engine.torch
    torch.backends.cudnn.benchmark = search
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    batch = (1, max(day.effort.batches))
    with open_device(day.device) as device, torch_engine.pipeline(day.bundle(model), device, batch) as pipeline:
        yield pipeline


def run(day: Day) -> None:
    """Every model's values first, then every model's times, then memory."""
    day.tell("called", value=torch_engine.CALLED)
    for part in (measure.values, measure.latency, measure.memory):
        for model in day.models:
            with opened(day, model) as pipeline:
                part(day, model, pipeline)
    wrong = [model for model in day.models if not day.found[model]["graph_equals_plain"]]
    assert not wrong, f"a graph differs from plain calls for {', '.join(wrong)}"
