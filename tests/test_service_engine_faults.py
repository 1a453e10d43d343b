"""The engine where several things happen at once: a time that is up, a session that ends, a process that stands still,
each while a request waits."""

import errno
import os
import signal
import time
from contextlib import suppress

import pytest

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Request, engine
from pose_factory.service.engine import Engine
from pose_factory.service.settings import Settings

SECONDS = 60
"""Longer than anything here takes."""


@pytest.fixture
def start(monkeypatch):
    """Start an engine with these settings, and wait until its workers are there; it is closed in the end."""
    monkeypatch.setattr(engine, "SERVE", "scripted_worker:serve")
    started = []

    def make(**chosen) -> Engine:
        started.append(Engine(Settings(**{"backend": "mediapipe", **chosen})))
        until(lambda: started[-1].health()["workers"] == chosen["workers"])
        return started[-1]

    yield make
    for each in started:
        each.close(0.0)


def until(condition) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def ask(of: Engine, words: str, session: str):
    return of.submit(Request(words.encode(), 1, session))


def status(future) -> int:
    return future.result(SECONDS).status


def serves(of: Engine, workers: int = 1) -> bool:
    """Whether it answers one request after the other, once its workers are there again."""
    until(lambda: of.health()["workers"] == workers)
    return [status(ask(of, "sleep 0", session)) for session in ("x", "y", "z")] == [200] * 3


def test_a_session_that_expires_while_it_stands_in_line(start):
    """The time of all its requests is up, and so is its own, before its turn comes."""
    running = start(workers=1, timeout=2.0, session_seconds=1.0)
    busy, late = ask(running, "sleep 60", "busy"), ask(running, "sleep 0", "late")
    assert (status(busy), status(late)) == (504, 504)
    assert running.health()["sessions"] <= 1  # of `busy`, perhaps
    assert serves(running)


def test_a_session_that_makes_room_while_it_stands_in_line(start):
    running = start(workers=1, timeout=2.0, max_sessions=2)
    busy, late = ask(running, "sleep 60", "busy"), ask(running, "sleep 0", "late")
    assert (status(busy), status(late)) == (504, 504)
    newcomer = ask(running, "sleep 0", "newcomer")
    assert "late" not in running._sessions
    newcomer.result(SECONDS)
    assert serves(running)


def test_a_request_whose_time_is_up_before_its_process_begins(start, monkeypatch):
    """The process is killed, which puts the request back, and in that moment the request is answered 504."""
    kill = engine.Process.kill

    def kill_and_linger(process) -> None:
        kill(process)
        time.sleep(0.3)

    running = start(workers=2, timeout=2.0)
    monkeypatch.setattr(engine.Process, "kill", kill_and_linger)
    both = [process._process.pid for process in running._processes.values()]
    for process in both:
        os.kill(process, signal.SIGSTOP)
    assert status(ask(running, "sleep 0", "late")) == 504
    for process in both:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    assert serves(running, 2)


def test_a_process_that_cannot_be_started_is_tried_again(start, monkeypatch, tmp_path):
    """As where memory is short for a moment, after one was killed for it."""
    monkeypatch.setattr(engine, "TRACK_FILM", "scripted_worker:track_film")
    running, real = start(workers=1), engine.Process

    def fail_once(*args):
        monkeypatch.setattr(engine, "Process", real)
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(engine, "Process", fail_once)
    os.kill(running._processes[0]._process.pid, signal.SIGKILL)
    until(lambda: engine.Process is real)
    assert serves(running)
    monkeypatch.setattr(engine, "Process", fail_once)
    with pytest.raises(PoseFactoryError, match="No process can be started: Cannot allocate memory; send"):
        running.track_film(tmp_path / "film", lambda *_: None).result(SECONDS)
    until(lambda: running.health()["films"] == 0)
