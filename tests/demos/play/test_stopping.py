from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from demos.play.stopping import Stop, Stopped


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def test_work_is_finished_and_nothing_more_is_begun() -> None:
    done = []
    with Stop() as stop:
        for item in stop.until_stopped(range(5)):
            if item == 2:
                ask()
            done.append(item)
    assert done == [0, 1, 2] and stop.code == 143


def test_waiting_ends_at_once() -> None:
    def slow() -> Iterator[int]:
        yield 0
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Event().wait(30)
        yield 1

    started = time.perf_counter()
    with Stop() as stop:
        assert list(stop.until_stopped(slow())) == [0]
    assert stop.code == 130 and time.perf_counter() - started < 10


def test_a_signal_before_the_wait_counts() -> None:
    with Stop() as stop:
        ask()
        with pytest.raises(Stopped), stop.waiting():
            raise AssertionError("it was begun")


def test_a_second_signal_is_not_held_back() -> None:
    with Stop() as stop:
        ask(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)
    assert stop.code == 130


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            ask(signal.SIGHUP)
        assert stop.code == 0 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_end_by_itself() -> None:
    with Stop() as stop:
        assert list(stop.until_stopped(iter("abc"))) == ["a", "b", "c"]
    assert stop.code == 0
