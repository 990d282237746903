"""A signal takes effect once the training step is done and kept."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from puvae_rt.training.interrupts import signals_held


class TerminatedError(Exception):
    pass


@pytest.fixture(autouse=True)
def terminating():
    def stop(number: int, _: object) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_block_is_finished_and_then_the_signal_has_its_effect() -> None:
    steps = []
    with pytest.raises(TerminatedError), signals_held() as held:
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append(held.number)
    assert steps == [signal.SIGTERM]


def test_the_second_one_is_not_held_back() -> None:
    with pytest.raises(TerminatedError), signals_held():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("held back")


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with signals_held() as held:
        os.kill(os.getpid(), signal.SIGTERM)
    assert held.number is None


def test_without_a_signal_all_handlers_are_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signals_held():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_nothing_changes() -> None:
    found = []

    def work() -> None:
        with signals_held() as held:
            found.append(held.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
