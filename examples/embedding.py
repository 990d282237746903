"""A purifier inside a perception loop: frames and regions come from yours, labels go back to it.

    python examples/embedding.py [FOLDER, video or camera]

Without a source it drives towards the signs of the scenes that ship.
"""

from __future__ import annotations

import sys

from puvae_rt import Purifier
from puvae_rt.driving.clip import DriveBy
from puvae_rt.driving.locating import Locator
from puvae_rt.driving.reading import SignReader
from puvae_rt.driving.tracks import Tracker
from puvae_rt.video.sources import open_source

clip = DriveBy(frames=12)
source = open_source(sys.argv[1] if len(sys.argv) > 1 else "synthetic", lambda: clip)
locate, tracker = Locator(clip=clip if source is clip else None), Tracker()

with Purifier.load("traffic_signs") as purifier:
    read = SignReader(purifier)  # all signs of a frame in one batch
    for frame in source:
        reading = read(frame.image, locate(frame))
        tracks = tracker([seen.sign.box for seen in reading.signs])
        for seen, track in zip(reading.signs, tracks, strict=True):
            label = track.vote(seen.purified)
            if seen.sign.label is not None or track.steady:  # most proposals on an unknown road are no signs
                print(frame.index, track.number, seen.sign.box, purifier.classes[label] if label >= 0 else "no answer")
source.close()
