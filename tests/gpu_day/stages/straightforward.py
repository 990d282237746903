"""PuVAE as the paper runs it: the dense network on K labelled copies of each image, in FP16 and in FP32."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from puvae_rt.models.puvae import PuVAE
from puvae_rt.training.device import clock_of
from tests.cuda import torch_engine
from tests.cuda.torch_engine import Tensor, torch
from tests.gpu_day.measure import filled, samples, timed
from tests.gpu_day.stage import Day
from tests.gpu_day.stages.pipeline import opened
from tests.gpu_day.stages.race import MODEL, recorded

CLASSES = 10
SIGMA = 0.1  # the paper's sigma_eps


def run(day: Day) -> None:
    """Milliseconds of each size and way, with images and results on the device, beside ours."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    images, there = samples(day, MODEL)[0], day.torch_device
    halves = (True, False) if there == "cuda" else (False,)
    with opened(day, MODEL) as pipeline:
        contract = pipeline.contract
        for size in day.effort.batches:
            batch = torch_engine.placed(filled(images, size), pipeline.device)

            def ours(batch: Tensor = batch) -> None:
                pipeline.enqueue(batch)
                pipeline.stream.synchronize()

            day.tell("ours", str(size), value=timed(ours, _runs(day, size)))
    torch.backends.cudnn.deterministic = False  # at its fastest
    for half, size in itertools.product(halves, day.effort.batches):
        dtype = torch.float16 if half else torch.float32
        model = PuVAE(contract, CLASSES).to(there, dtype).eval().requires_grad_(False)
        batch = torch.from_numpy(filled(images, size)).to(there, dtype)
        for graph in (True, False) if there == "cuda" else (False,):
            name = f"{'FP16' if half else 'FP32'} {'graph' if graph else 'eager'}"
            day.tell(name, str(size), value=timed(_waited(projection(model, batch), graph, batch), _runs(day, size)))


def _runs(day: Day, size: int) -> int:
    return day.effort.runs if size == 1 else day.effort.large_runs


def projection(model: PuVAE, images: Tensor) -> Callable[[], Tensor]:
    """The work that purifies images [N,C,H,W]: every class's projection, of which the closest is kept."""
    n, k = len(images), model.classes
    onehot = torch.eye(k, dtype=images.dtype, device=images.device).repeat(n, 1)
    rows = torch.arange(n, device=images.device)

    @torch.inference_mode()
    def work() -> Tensor:
        posterior = model.encode(images.repeat_interleave(k, dim=0), onehot)
        z = posterior.mu + SIGMA * posterior.sigma * torch.randn_like(posterior.sigma)
        candidates = model.decode(z.to(images.dtype), onehot).view(n, k, *images.shape[1:])
        rmse = (candidates - images[:, None]).square().mean(dim=(2, 3, 4)).sqrt()
        return candidates[rows, rmse.argmin(dim=1)]

    return work


def _waited(work: Callable[[], object], graph: bool, images: Tensor) -> Callable[[], object]:
    """The work, plainly or replayed, and the wait for it."""
    call, clock = recorded(work) if graph else work, clock_of(images.device)

    def whole() -> None:
        call()
        clock()

    return whole
