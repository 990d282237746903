"""What the keys of the camera demo do: attack, epsilon, purifier, pause, recording, snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from demos.arguments import ATTACKS, NO_ATTACK
from demos.play.defense import Attack, Defense, Outcome
from demos.play.recording import Recording
from puvae_rt.errors import VideoError
from puvae_rt.video.capture import opencv_path
from puvae_rt.video.frames import Frame, Pixels

STEP, LEAST, MOST = 0.05, 0.05, 1.0  # of epsilon
HELP = "a attack   +/- epsilon   p purifier   space pause   r record   s snapshot   q quit"


@dataclass
class Controls:
    """The demo as the keys have set it.

    Attributes:
        defense: what the keys act on.
        attack: it is made once; the keys choose its name and epsilon, or take it away.
        folder: where recordings and snapshots go.
        source: its name, for recordings.
        paused: no frame is taken while it is.
    """

    defense: Defense
    attack: Attack
    folder: Path
    source: str
    paused: bool = False
    _snapshot: bool = False
    _recording: Recording | None = None
    _written: dict[str, int] = field(default_factory=lambda: {"record": 0, "snapshot": 0})

    @property
    def keys(self) -> Mapping[str, Callable[[], None]]:
        """What each key does, by Tk's name of it."""
        return {
            "a": self.next_attack,
            "plus": lambda: self.change_epsilon(STEP),
            "equal": lambda: self.change_epsilon(STEP),
            "minus": lambda: self.change_epsilon(-STEP),
            "p": self.switch_purifier,
            "space": self.pause,
            "r": self.record,
            "s": self.snap,
        }

    def press(self, key: str) -> None:
        """Does what the key is for; other keys do nothing."""
        self.keys.get(key, lambda: None)()

    def next_attack(self) -> None:
        """No attack, then each in turn."""
        names = (NO_ATTACK, *ATTACKS)
        now = NO_ATTACK if self.defense.attack is None else self.attack.name
        name = names[(names.index(now) + 1) % len(names)]
        self.defense.attack = None if name == NO_ATTACK else self.attack
        if name != NO_ATTACK:
            self.attack.name = name

    def change_epsilon(self, by: float) -> None:
        """A step up or down, within what makes sense."""
        self.attack.epsilon = round(min(MOST, max(LEAST, self.attack.epsilon + by)), 2)

    def switch_purifier(self) -> None:
        """On or off."""
        self.defense.purifying = not self.defense.purifying

    def pause(self) -> None:
        """Stops taking frames, or goes on."""
        self.paused = not self.paused

    def record(self) -> None:
        """Begins a recording, or ends it; VideoError where it cannot be written."""
        if self._recording is not None:
            self.close()
            return
        self._recording = Recording(self._next("record", ".mcap"), self.source)

    def snap(self) -> None:
        """The next picture is written."""
        self._snapshot = True

    def see(self, frame: Frame, outcome: Outcome | None, age_ms: float) -> None:
        """Records a frame, where a recording is on."""
        if self._recording is not None:
            self._recording(frame, outcome, age_ms)

    def take(self, picture: Pixels) -> None:
        """Writes the picture where a snapshot was asked for; VideoError where it cannot be written."""
        if not self._snapshot:
            return
        self._snapshot = False
        path = self._next("snapshot", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(opencv_path(path), picture):
            raise VideoError(f"{path}: cannot be written, expected a writable folder with room; choose another --out")

    def line(self) -> str:
        """What is on, for the picture."""
        name = NO_ATTACK if self.defense.attack is None else f"{self.attack.name.upper()} {self.attack.epsilon:g}"
        parts = [f"attack {name}", f"purifier {'on' if self.defense.purifying else 'off'}"]
        return "   ".join(parts + (["recording"] if self._recording is not None else []))

    def close(self) -> None:
        """Ends a recording."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()

    def _next(self, kind: str, suffix: str) -> Path:
        """A name that no file has."""
        while True:
            self._written[kind] += 1
            path = self.folder / f"{kind}-{self._written[kind]:03}{suffix}"
            if not path.exists():
                return path
