"""The two WebSockets of the page: one to look at the shared stream, one to have frames of one's own purified."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket, WebSocketDisconnect

from demos.site import messages
from demos.site.limits import FRAMES_A_SECOND, IN_FLIGHT, SEND_SECONDS, Bucket
from demos.site.meters import Meters
from demos.site.own_frames import OwnFrames
from demos.site.stage import Stage
from demos.site.tuning import Tuning
from puvae_rt.errors import InputError, PuvaeError

INVALID, FAILED, FULL = 1007, 1011, 1013  # codes of RFC 6455 and IANA
SHOWN = "shown"  # a page's word that it has shown a frame
_MAX_REASON = 123  # bytes, as the protocol has it


class _Flight:
    """Frames that were sent and not shown yet, at most `IN_FLIGHT`."""

    def __init__(self) -> None:
        self._count, self._landed = 0, asyncio.Event()

    async def start(self) -> None:
        """Waits for room, and takes it."""
        while self._count >= IN_FLIGHT:
            self._landed.clear()
            await self._landed.wait()
        self._count += 1

    def land(self) -> None:
        """One was shown; a page that says so too often gains nothing."""
        self._count = max(0, self._count - 1)
        self._landed.set()


class Sockets:
    """Both WebSockets, for at most `visitors` browsers together."""

    def __init__(self, stage: Stage, own: OwnFrames, meters: Meters, visitors: int) -> None:
        self._stage, self._own, self._meters, self._room = stage, own, meters, visitors
        self._most = visitors

    async def stream(self, socket: WebSocket) -> None:
        """The shared stream: its latest frames out, at most `IN_FLIGHT` unseen; settings in."""
        async with self._visit(socket, "stream") as welcome:
            if not welcome:
                return
            flight = _Flight()
            self._stage.channel.watched += 1
            sending = asyncio.create_task(self._send(socket, flight))
            hearing = asyncio.create_task(self._hear(socket, flight))
            try:
                done, _ = await asyncio.wait((sending, hearing), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._stage.channel.watched -= 1
                for task in (sending, hearing):
                    task.cancel()
                await asyncio.gather(sending, hearing, return_exceptions=True)

    async def own(self, socket: WebSocket) -> None:
        """A visitor's own frames: a JPEG in, what was made of it out, one after the other; settings in between."""
        async with self._visit(socket, "own") as welcome:
            if not welcome:
                return
            tuning, bucket = self._stage.tuning, Bucket(FRAMES_A_SECOND, 1 + FRAMES_A_SECOND / 10)
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await asyncio.sleep(bucket.delay())  # nothing more is read meanwhile
                if (text := message.get("text")) is not None:
                    tuning = Tuning.read(text)
                else:
                    answer = await self._own.answer(message["bytes"], tuning)
                    await asyncio.wait_for(socket.send_bytes(answer), SEND_SECONDS)

    async def _send(self, socket: WebSocket, flight: _Flight) -> None:
        number = self._stage.channel.number  # what is there may be old
        await asyncio.wait_for(socket.send_bytes(messages.packed(self._stage.status())), SEND_SECONDS)
        while True:
            await flight.start()
            latest, message = await self._stage.channel.after(number)
            await asyncio.wait_for(socket.send_bytes(message), SEND_SECONDS)
            self._meters.sent(latest - number - 1)
            number = latest

    async def _hear(self, socket: WebSocket, flight: _Flight) -> None:
        bucket = Bucket(2 * FRAMES_A_SECOND, 2 * FRAMES_A_SECOND)
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            await asyncio.sleep(bucket.delay())
            if message.get("text") == SHOWN:
                flight.land()
            elif message.get("text") is not None:
                self._stage.tune(Tuning.read(message["text"]))
            else:
                raise InputError("got bytes, expected settings")

    @contextlib.asynccontextmanager
    async def _visit(self, socket: WebSocket, kind: str) -> AsyncIterator[bool]:
        """Whether there is room; whatever goes wrong within closes this one socket, and says why."""
        await socket.accept()
        if not self._room:
            self._meters.refused("full")
            await socket.close(FULL, f"{self._most} visitors are here already; try again later")
            yield False
            return
        self._room -= 1
        self._meters.visitors.labels(kind).inc()
        try:
            yield True
        except InputError as error:
            self._meters.refused("malformed")
            await _close(socket, INVALID, error)
        except PuvaeError as error:
            self._meters.refused("failed")
            await _close(socket, FAILED, error)
        except (WebSocketDisconnect, asyncio.TimeoutError):
            self._meters.refused("gone")
        finally:
            self._room += 1
            self._meters.visitors.labels(kind).dec()


async def _close(socket: WebSocket, code: int, error: Exception) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, str(error).encode()[:_MAX_REASON].decode(errors="ignore"))
