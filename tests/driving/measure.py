"""`python -m tests.driving.measure ROAD GTSRB.npz`: accuracy on annotated street scenes, and what proposals find there.

ROAD is a folder of scenes with *boxes.json. Writes results/driving.json; no timing is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from puvae_rt.attacks.onnx_attack import OnnxGradient, ifgsm
from puvae_rt.data import load_dataset
from puvae_rt.driving.annotations import MARGIN, boxes_file, read_signs, widened
from puvae_rt.driving.attack import ATTACKS, EPSILON, SignAttack
from puvae_rt.driving.duplicates import NEAR, nearest
from puvae_rt.driving.locating import PROPOSALS, Locator
from puvae_rt.driving.reading import SignReader
from puvae_rt.files import write_json
from puvae_rt.runtime.bundle import resolve
from puvae_rt.runtime.preprocess import as_input
from puvae_rt.runtime.purifier import Purifier
from puvae_rt.video.folder import FolderSource, read_picture

RESULTS = Path("results/driving.json")
MODEL = "traffic_signs"
_MARGINS = (0.05, 0.1, 0.15, 0.2)  # GTSRB's own border differs from image to image


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("road", type=Path)
    parser.add_argument("gtsrb", type=Path)
    args = parser.parse_args()
    file = boxes_file(args.road)
    assert file is not None, f"{args.road}: no *boxes.json"
    scenes = read_signs(file)
    truth = np.array([sign.label for signs in scenes.values() for sign in signs])
    near = near_training(args.road, scenes, truth, args.gtsrb)
    with Purifier.load(MODEL) as purifier:
        attacks = {name: measured(args.road, scenes, purifier, name, ~near) for name in ("none", *ATTACKS)}
        untargeted = away(args.road, scenes, purifier, truth)
    locate = Locator(PROPOSALS, scenes)
    for frame in FolderSource(args.road):
        locate(frame)
    document = {
        "command": "python -m tests.driving.measure ROAD GTSRB.npz",
        "evidence": "measured",
        "settings": {"model": MODEL, "prior": "model", "margin": MARGIN, "epsilon": EPSILON, "seed": 0},
        "scenes": len(scenes),
        "signs": len(truth),
        "near_duplicates": {"correlation": NEAR, "signs": int(near.sum())},
        "attacks": attacks,
        "ifgsm_untargeted": untargeted,
        "proposals": locate.document(),
    }
    write_json(RESULTS, document)
    print(document)


def near_training(road: Path, scenes: Any, truth: Any, gtsrb: Path) -> Any:
    """[N], whether a training image of the same class shows the same sign at nearly the same moment."""
    train = load_dataset("traffic_signs", gtsrb).train
    near = np.zeros(len(truth), bool)
    for margin in _MARGINS:
        value, place = nearest(crops(road, scenes, margin), train.images)
        near |= (value >= NEAR) & (train.labels[place] == truth)
    return near


def crops(road: Path, scenes: Any, margin: float) -> Any:
    """[N,3,32,32] of all signs."""
    from puvae_rt.runtime.assets import shipped

    contract = shipped(MODEL).contract
    images = []
    for name, signs in scenes.items():
        scene = read_picture(road / name)
        images += [as_input(scene, widened(sign.box, margin), contract) for sign in signs]
    return np.concatenate(images)


def measured(road: Path, scenes: Any, purifier: Purifier, name: str, far: Any) -> dict[str, Any]:
    """Accuracies of all signs, and of those that are no near-duplicates."""
    file = resolve(MODEL, None, True).classifier
    assert file is not None
    reader = SignReader(purifier, None if name == "none" else SignAttack(name, file))
    seen = [one for each, signs in scenes.items() for one in reader(read_picture(road / each), signs).signs]
    right = {
        version: np.array([getattr(one, version) == one.sign.label for one in seen])
        for version in ("clean", "attacked", "purified")
        if version != "attacked" or name != "none"
    }
    return {"all": _shares(right), "without_near_duplicates": _shares({k: v[far] for k, v in right.items()})}


def away(road: Path, scenes: Any, purifier: Purifier, truth: Any) -> dict[str, float]:
    """iFGSM away from the true class: harder on the purifier than towards a random one."""
    file = resolve(MODEL, None, True).classifier
    assert file is not None and purifier.classifier is not None
    images = ifgsm(OnnxGradient(file), crops(road, scenes, MARGIN), truth, EPSILON)
    behind = purifier.classifier.labels(purifier.purify(images).images)
    return _shares({"attacked": purifier.classifier.labels(images) == truth, "purified": behind == truth})


def _shares(right: Any) -> dict[str, float]:
    return {version: round(float(found.mean()), 4) for version, found in right.items()} | {
        "signs": len(next(iter(right.values())))
    }


if __name__ == "__main__":
    main()
