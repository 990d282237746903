"""Defense-GAN in a process of its own, image by image against the clock: what it has at each budget, and at its end.

A line of JSON {"image": base64 of float32 [C,H,W] in [0,1]} on standard input is answered on a pipe of its own, whose
descriptor is the last argument, by one line for each budget and one at the end: {"budget_ms": 33.0 or null, "ms": time
of the step that gave it, "step": 12, "image": base64, or null where no step was done by then}. {"error": ...} comes in
their place. The end of the input ends the process.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from puvae_rt.errors import PuvaeError

Answer = dict[str, Any]


def main() -> None:
    """Serves with the arguments of this process: weights, steps, restarts, threads, budgets, descriptor."""
    weights, steps, restarts, threads, budgets, descriptor = sys.argv[1:]
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as answers:
        try:
            serve(Path(weights), int(steps), int(restarts), int(threads), json.loads(budgets), answers)
        except PuvaeError as error:
            reply(answers, {"error": str(error)})


def serve(weights: Path, steps: int, restarts: int, threads: int, budgets: Sequence[float], answers: TextIO) -> None:
    """Answers every image; the first line says that the generator is loaded, and what computes."""
    import torch

    from puvae_rt.defenses.defense_gan import DefenseGan
    from puvae_rt.defenses.gan_search import Search
    from puvae_rt.training.artefacts import load_generator

    torch.set_num_threads(threads)
    generator, _ = load_generator(weights)
    defense = DefenseGan(generator, Search(steps=steps, restarts=restarts))
    contract = generator.contract
    for _ in zip(range(2), defense.anytime(torch.zeros(1, *contract.shape)), strict=False):
        pass  # the first steps allocate; no image should pay for that
    reply(answers, {"ready": f"PyTorch {torch.__version__}"})
    for line in sys.stdin:
        data = base64.b64decode(json.loads(line)["image"])
        image = torch.from_numpy(np.frombuffer(data, np.float32).reshape(1, *contract.shape).copy())
        started = time.perf_counter()
        results = (best[0].numpy() for best in defense.anytime(image))
        for answer in at_budgets(results, budgets, started):
            reply(answers, answer)


def at_budgets(results: Iterable[Any], budgets: Sequence[float], started: float) -> Iterator[Answer]:
    """The latest result that was there at each of `budgets` (milliseconds, rising), then the last one of all."""
    waiting, held = list(budgets), _answer(None, 0.0, -1, None)
    for step, result in enumerate(results):
        ms = 1e3 * (time.perf_counter() - started)
        while waiting and ms > waiting[0]:
            yield held | {"budget_ms": waiting.pop(0)}
        held = _answer(None, ms, step, np.ascontiguousarray(result, np.float32))
    for budget in waiting:  # it was done before
        yield held | {"budget_ms": budget}
    yield held


def _answer(budget: float | None, ms: float, step: int, image: Any) -> Answer:
    encoded = None if image is None else base64.b64encode(image.tobytes()).decode("ascii")
    return {"budget_ms": budget, "ms": ms, "step": step, "image": encoded}


def reply(answers: TextIO, answer: Answer) -> None:
    """Sends one line."""
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
