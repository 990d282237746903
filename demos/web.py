"""The web page: `python -m demos.web` is `puvae demo web`."""

from __future__ import annotations

from puvae_rt.cli.entry import forward

main, parser = forward(__name__, "demo web")  # first: --help needs none of what follows

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from demos import camera, video
from demos.play.stopping import Stop
from puvae_rt.errors import DegradedError, VideoError

if TYPE_CHECKING:
    from puvae_rt.cli.commands.demo_web import Options


def run(args: Options, stop: Stop, note: Callable[[str], None]) -> dict[str, Any]:
    """Plays the source to whoever looks, until a signal or the end of --duration; the demo's JSON."""
    from demos.play.overlay import Overlay  # these bring the engine and the server: --help does without
    from demos.play.player import Player
    from demos.site.doors import Doors
    from demos.site.meters import Meters
    from demos.site.own_frames import OwnFrames
    from demos.site.server import Server, check_tls, listen
    from demos.site.stage import Stage
    from demos.site.unending import Unending

    doors = Doors.opened(args.host, args.token_file)
    check_tls(args.tls)
    with contextlib.ExitStack() as stack:
        socket = stack.enter_context(listen(args.host, args.port))
        defense = stack.enter_context(video.open_defense(args))
        attack = camera.ready_attack(args, defense)
        with stop.waiting():
            source = Unending(lambda: video.open_live(args, video.ENDLESS))
        stack.callback(source.close)
        player = Player(defense, Overlay("", "", defense.purifier.classes), None, None, args.slo)
        if args.race is not None:
            player.race = video.open_race(args, defense)
            stack.callback(player.race.close)
        meters = Meters(defense.purifier.name, source.name)
        stage = Stage(player, defense, attack, source, meters)
        own = stack.enter_context(OwnFrames(defense, camera.ready_attack(args, defense), meters))
        server = stack.enter_context(Server(socket, args.tls, stage, own, doors, meters, args.visitors))
        note(f"serving {server.address}, Ctrl-C ends it")
        if not doors.local and args.tls is None:
            note("note: without --tls token and pictures cross the network unencrypted, and browsers give no camera")
        error = None
        try:
            player.play(stop.until_stopped(stage.frames(video.for_seconds(source, args.duration))), source)
        except (VideoError, DegradedError) as broken:
            error = str(broken)
        source.close()
        used = video.settings(args, source, defense.purifier.threads) | video.counted(source, player.report.frames)
        used |= {"read": source.read, "paused": stage.paused_frames, "source_error": source.error or None}
        race = None if player.race is None else player.race.document()
        return player.report.document(source.dropped) | used | {"race": race, "error": error}
