"""Table 5 on one card: the deployed pipeline against Defense-GAN at its fastest, on the same mini-batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from puvae_rt.defenses.defense_gan import LAST_PART, LAST_RATE
from puvae_rt.defenses.gan_search import Search
from puvae_rt.models.gan import LATENT, Generator
from puvae_rt.training.artefacts import load_generator
from puvae_rt.training.device import clock_of
from tests.cuda.torch_engine import Tensor, torch
from tests.gpu_day.measure import filled, samples, timed
from tests.gpu_day.plan import ROOT
from tests.gpu_day.stage import Day
from tests.gpu_day.stages.pipeline import opened

MODEL = "mnist"  # the only one whose generator is in the repository
WEIGHTS = ROOT / "results" / "baselines" / MODEL / "defense_gan.safetensors"


def run(day: Day) -> None:
    """Defense-GAN's seconds in every way of running it, ours before and after, and the ratio to the fastest."""
    effort = day.effort
    search = Search(steps=effort.steps, restarts=effort.restarts)
    day.tell("settings", value={"steps": search.steps, "restarts": search.restarts, "images": effort.mini_batch})
    images = filled(samples(day, MODEL)[0], effort.mini_batch)
    _ours(day, images, "before")
    torch.backends.cudnn.deterministic = False  # at its fastest
    generator, _ = load_generator(WEIGHTS)
    there, generator = torch.from_numpy(images).to(day.torch_device), generator.to(day.torch_device)
    recorded = (False, True) if day.torch_device == "cuda" else (False,)
    for graph, tf32, last in itertools.product(recorded, (False, True), (False, True)):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        generator = generator.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        name = " ".join(
            ("graph" if graph else "eager", "TF32" if tf32 else "FP32", "channels last" if last else "contiguous")
        )
        seconds = [Descent(generator, there, search, graph).timed() for _ in range(3)]
        day.tell("defense_gan", name, value=min(seconds))
    _ours(day, images, "after")
    fastest = min(day.found["defense_gan"].values())
    ours = max(day.found["ours"][when]["p50"] for when in ("before", "after")) / 1e3
    day.tell("ratio", value=fastest / ours)


def _ours(day: Day, images: Any, when: str) -> None:
    """Milliseconds of the whole mini-batch, from host memory to host memory."""
    with opened(day, MODEL) as pipeline:
        step = pipeline.max_batch
        parts = [images[i : i + step] for i in range(0, len(images), step)]
        day.tell("ours", when, value=timed(lambda: [pipeline.run(part) for part in parts], day.effort.large_runs))


class Descent:
    """`puvae_rt.defenses.DefenseGan` with all of its state on the device, so that a step can be one CUDA graph.

    Args:
        generator, images: on the device.
        search: L, R and the rates.
        graph: whether steps are replayed.
    """

    def __init__(self, generator: Generator, images: Tensor, search: Search, graph: bool) -> None:
        self.generator, self.images, self.search = generator.eval().requires_grad_(False), images, search
        self.copies = images.repeat_interleave(search.restarts, dim=0)
        self.rows = torch.arange(len(images), device=images.device)
        self.z = torch.empty((len(self.copies), LATENT), device=images.device)
        self.velocity, self.rate = torch.zeros_like(self.z), torch.tensor(0.0, device=images.device)
        self.best, self.error = torch.empty_like(images), torch.empty(len(images), device=images.device)
        self.start()
        self.step = self._recorded() if graph else self._step

    def start(self) -> None:
        """The first codes, as the product draws them."""
        random = torch.Generator().manual_seed(self.search.seed)
        self.z.copy_(torch.randn(self.z.shape, generator=random) * self.search.spread)
        self.velocity.zero_()
        self.best.copy_(self.images)
        self.error.fill_(float("inf"))

    def timed(self) -> float:
        """Seconds of all steps."""
        self.start()
        clock = clock_of(self.images.device)
        start = clock()
        for step in range(self.search.steps):
            if step in (0, self._last_part):
                self.rate.fill_(self.search.rate * (LAST_RATE if step else 1.0))
            self.step()
        return clock() - start

    @property
    def _last_part(self) -> int:
        """The first step of the last part."""
        return next(i for i in range(self.search.steps + 1) if i >= LAST_PART * self.search.steps)

    def _step(self) -> None:
        with torch.enable_grad():
            codes = self.z.detach().requires_grad_()
            generated = self.generator(codes)
            errors = (generated - self.copies).square().mean(dim=(1, 2, 3))
            (gradient,) = torch.autograd.grad(errors.sum(), codes)
        lowest, winner = errors.detach().view(len(self.images), -1).min(dim=1)
        chosen = generated.detach().view(len(self.images), -1, *self.images.shape[1:])[self.rows, winner]
        better = lowest < self.error
        self.best.copy_(torch.where(better[:, None, None, None], chosen, self.best))
        self.error.copy_(torch.where(better, lowest, self.error))
        self.velocity.mul_(self.search.momentum).sub_(self.rate * gradient)
        self.z.add_(self.velocity)

    def _recorded(self) -> Callable[[], None]:
        return recorded(self._step)


def recorded(work: Callable[[], object]) -> Callable[[], None]:
    """A replay of work captured as one CUDA graph, after a few runs on a side stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay  # type: ignore[no-any-return]
