"""The demo of a camera with keys: `python -m demos.camera` is `puvae demo camera`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo camera")  # first: --help needs none of what follows

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from demos import video
from demos.arguments import ATTACKS, NO_ATTACK
from demos.play.stopping import Stop
from puvae_rt.errors import ContractError

if TYPE_CHECKING:
    from demos.play.controls import Controls
    from demos.play.defense import Attack, Defense
    from puvae_rt.cli.commands.demo_camera import Options
    from puvae_rt.cli.streaming import StreamOptions


def run(args: Options, stop: Stop, note: Callable[[str], None]) -> dict[str, Any]:
    """Plays the camera as `demos.video` does, with keys; the demo's JSON."""
    return video.run(args, stop, note, controls)


def controls(args: Options, defense: Defense, source: str) -> Controls:
    """What the keys act on."""
    from demos.play.controls import Controls

    return Controls(defense, ready_attack(args, defense), args.out.parent, source)


def ready_attack(args: StreamOptions, defense: Defense) -> Attack:
    """The attack of `defense`, or one to switch on later; ContractError where there is no classifier to attack."""
    from demos.play.defense import Attack
    from puvae_rt.runtime.bundle import resolve

    file = resolve(args.bundle or args.model, None, args.classifier or True).classifier
    if file is None:
        raise ContractError(
            f"model {args.model!r} comes without a classifier, expected one; give --classifier FILE.onnx"
        )
    name = ATTACKS[0] if args.attack == NO_ATTACK else args.attack
    return defense.attack or Attack(name, file, args.epsilon, args.seed, defense.purifier.threads)
