"""The race: PuVAE against Defense-GAN on the same attacked digits, for the same budgets of time."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demos.play.defense import Outcome
from puvae_rt.errors import VideoError
from puvae_rt.refusal import install
from puvae_rt.runtime.cpu import Classifier
from puvae_rt.runtime.results import Floats
from puvae_rt.stream.ages import Percentiles
from puvae_rt.video.frames import Frame

BUDGETS = (33.0, 100.0, 1000.0)  # milliseconds; behind them, until it is done
DONE = "done"
PUVAE, GAN = "puvae", "defense_gan"
STEPS, RESTARTS = 200, 20  # L and R of both papers
WEIGHTS = "defense_gan.safetensors"
PAPER_RATIO = 134.55
_STDERR = 2
_START_SECONDS = 60.0


def budget_name(budget: float | None) -> str:
    """As in the JSON: 33, 100, 1000, done."""
    return DONE if budget is None else f"{budget:g}"


@dataclass
class Round:
    """One digit that both purify: what each has at each budget; an image that is not there yet is the attacked one."""

    attacked: Floats
    truth: int | None
    before: int  # what the classifier sees in the attacked image
    puvae_ms: float
    puvae_label: int
    purified: Floats
    gan: dict[str, tuple[int, Floats, float]] = field(default_factory=dict)  # label, image, milliseconds

    def label(self, racer: str, budget: str) -> int | None:
        """The label by then; None while nobody knows yet."""
        if racer == GAN:
            return self.gan[budget][0] if budget in self.gan else None
        return self.puvae_label if budget == DONE or self.puvae_ms <= float(budget) else self.before


class Race:
    """Sends one digit after the other to a worker process, and counts what comes back.

    Args:
        baselines: folder with the generator's weights, in a folder of the model's name.
        model: its name.
        classifier: sees what both have.
        steps, restarts: of Defense-GAN.

    Attributes:
        now: the round under way or just done.
    """

    def __init__(self, baselines: Path, model: str, classifier: Classifier, steps: int, restarts: int) -> None:
        if importlib.util.find_spec("torch") is None:
            raise VideoError(f"--race: PyTorch is not installed; install it with {install('train')}")
        weights = baselines / model / WEIGHTS
        if not weights.is_file():
            raise VideoError(f"--race: {weights}: no such file; give the folder of kept baselines with --baselines")
        self.now: Round | None = None
        self.form, self.rounds = "", 0
        self._settings = {"steps": steps, "restarts": restarts, "budgets_ms": BUDGETS}
        self._classifier = classifier
        names = [budget_name(each) for each in (*BUDGETS, None)]
        self._right = {racer: dict.fromkeys(names, 0) for racer in (PUVAE, GAN)}
        self._judged, self._times = 0, {PUVAE: Percentiles(), GAN: Percentiles()}
        self._total = {PUVAE: 0.0, GAN: 0.0}
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._error: str | None = None
        self._process = self._start(weights, steps, restarts)
        self._busy = True
        self._take(self._answers.get(timeout=_START_SECONDS))

    def __call__(self, frame: Frame, outcome: Outcome | None, age_ms: float) -> None:
        """Takes what has come, and where the worker waits gives it the digit of this frame."""
        while not self._answers.empty():
            self._take(self._answers.get())
        if self._error is not None:
            raise VideoError(f"--race: {self._error}")
        if self._busy or outcome is None or outcome.degraded or outcome.reason:
            return
        stage, purified, laps = outcome.attacked or outcome.clean, outcome.purified, outcome.timings_ms
        truth = None if frame.truth is None else frame.truth.label
        ms = laps["purify"] + laps["classify"]
        self.now = Round(stage.image, truth, stage.label, ms, purified.label, purified.image)
        data = base64.b64encode(np.ascontiguousarray(stage.image, np.float32).tobytes()).decode("ascii")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"image": data}) + "\n")
            self._process.stdin.flush()
            self._busy = True
        except OSError as error:
            raise VideoError("--race: Defense-GAN's process has ended; is memory short?") from error

    def accuracy(self) -> Mapping[str, Mapping[str, float | None]]:
        """Of each racer at each budget; None before a round with its truth is done."""
        return {
            racer: {name: right / self._judged if self._judged else None for name, right in each.items()}
            for racer, each in self._right.items()
        }

    def document(self) -> dict[str, Any]:
        """For the demo's JSON."""
        puvae, gan = self._total[PUVAE], self._total[GAN]
        return {
            **self._settings,
            "form": self.form,
            "rounds": self.rounds,
            "judged": self._judged,
            "accuracy": self.accuracy(),
            "ms": {racer: times.summary() for racer, times in self._times.items()},
            "ratio": gan / puvae if puvae else None,
            "paper_ratio": PAPER_RATIO,
            "not_ready": "the attacked image",
        }

    def close(self) -> None:
        """Ends the worker."""
        self._process.terminate()
        self._process.communicate()
        self._reader.join()

    def _start(self, weights: Path, steps: int, restarts: int) -> subprocess.Popen[str]:
        reading, writing = os.pipe()
        given = [weights, steps, restarts, 1, json.dumps(BUDGETS), writing]
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "puvae_rt.evaluation.gan_racer", *map(str, given)],
                stdin=subprocess.PIPE,
                stdout=_STDERR,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends the worker in good order
                pass_fds=(writing,),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._reader = threading.Thread(target=self._read, args=(reading,), name="race", daemon=True)
        self._reader.start()
        return process

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as lines:
            for line in lines:
                self._answers.put(json.loads(line))
        self._answers.put({"error": "Defense-GAN's process has ended, expected its answers; is memory short?"})

    def _take(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self._error = str(answer["error"])
        elif "ready" in answer:
            self.form, self._busy = str(answer["ready"]), False
        elif self.now is not None:
            name, image = budget_name(answer["budget_ms"]), self.now.attacked
            label = self.now.before
            if answer["image"] is not None:
                image = np.frombuffer(base64.b64decode(answer["image"]), np.float32).reshape(image.shape)
                label = int(self._classifier.labels(image[None])[0])
            self.now.gan[name] = label, image, float(answer["ms"])
            if name == DONE:
                self._finish(self.now)

    def _finish(self, race: Round) -> None:
        self._busy = False
        self.rounds += 1
        for racer, ms in ((PUVAE, race.puvae_ms), (GAN, race.gan[DONE][2])):
            self._times[racer].add(ms)
            self._total[racer] += ms
        if race.truth is None:
            return
        self._judged += 1
        for racer, each in self._right.items():
            for name in each:
                each[name] += race.label(racer, name) == race.truth
