"""The engine with workers that do as they are told: order, fairness, limits, and all ways in which a process ends."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path

import pytest

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Closing, Full, Request, engine
from pose_factory.service.engine import Engine
from pose_factory.service.settings import Settings

SECONDS = 60
"""Longer than anything here takes."""


@pytest.fixture
def start(monkeypatch):
    """Start an engine with these settings; it is closed in the end."""
    monkeypatch.setattr(engine, "SERVE", "scripted_worker:serve")
    monkeypatch.setattr(engine, "TRACK_FILM", "scripted_worker:track_film")
    monkeypatch.setattr(engine, "RELOAD", (0.05, 0.2))
    started = []

    def make(**chosen) -> Engine:
        started.append(Engine(Settings(**{"workers": 1, "backend": "mediapipe", "timeout": SECONDS, **chosen})))
        return started[-1]

    yield make
    for each in started:
        each.close(0.0)


def ask(of: Engine, words: str, session="default", number=1):
    return of.submit(Request(words.encode(), number, session))


def told(future) -> dict:
    answer = future.result(SECONDS)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def until(condition) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def processes(of: Engine) -> list[int]:
    return [process._process.pid for process in of._processes.values()]


def is_running(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# Order


def test_a_session_is_answered_in_order_one_at_a_time_by_any_worker(start):
    running = start(workers=2)
    until(lambda: running.health()["workers"] == 2)
    futures = {name: [ask(running, "sleep 0.02", name) for _ in range(8)] for name in "abc"}
    used = set()
    for ones in futures.values():
        answers = [told(future) for future in ones]
        assert [answer["count"] for answer in answers] == list(range(1, 9))
        for before, after in zip(answers, answers[1:], strict=False):
            assert before["ended"] <= after["began"]
        used |= {answer["process"] for answer in answers}
    assert len(used) == 2


def test_numpy_has_one_thread_in_a_worker_and_here_as_many_as_before(start, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    assert told(ask(start(), "sleep 0"))["blas"] == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"


def test_sessions_take_turns(start):
    running = start()
    many = [ask(running, "sleep 0.05", "many") for _ in range(8)]
    few = [ask(running, "sleep 0.05", name) for name in ("one", "other") for _ in range(2)]
    last = max(told(future)["began"] for future in few)
    assert sum(told(future)["began"] > last for future in many) >= 5


def test_what_is_cancelled_while_it_waits_is_dropped(start):
    running = start()
    first, second, third = (ask(running, "sleep 0.3") for _ in range(3))
    assert second.cancel()
    assert told(first)["count"] == 1 and told(third)["count"] == 2


def test_an_answer_says_how_long_it_waited(start):
    running = start()
    ask(running, "sleep 0.2", "other")
    stats = ask(running, "sleep 0").result(SECONDS).stats
    assert stats.seconds["queue"] > 0.2 and stats.seconds["detect"] == 0.5


# Limits


def test_a_full_queue_says_when_to_come_back(start):
    running = start(queue=3)
    told(ask(running, "sleep 0.4"))
    futures = [ask(running, "sleep 0.4", name) for name in "abc"]
    with pytest.raises(Full, match="There are 3 requests waiting or running") as caught:
        ask(running, "sleep 0")
    assert 2 <= caught.value.retry_after <= 10  # 3 x 0.4 seconds, or a little more
    assert running.health()["queue_length"] in (2, 3)
    wait(futures, SECONDS)
    told(ask(running, "sleep 0"))


def test_time_that_is_up_while_waiting(start):
    running = start(timeout=3.0)
    until(lambda: running.health()["ready"])
    first = [ask(running, "sleep 2", "a"), ask(running, "sleep 2", "b")]
    late = ask(running, "sleep 0", "c", number=9)
    assert late.result(SECONDS).status == 504
    assert json.loads(late.result().body) == {
        "frame_number": 9,
        "error": "There was no answer within 3 seconds; try again.",
    }
    assert [future.result(SECONDS).status for future in first] == [200, 504]
    assert told(ask(running, "sleep 0", "c"))["count"] == 1  # as the late one never ran


@pytest.mark.parametrize("words", ["sleep 1000", "stop"])
def test_a_worker_that_hangs_takes_one_request_with_it(start, words):
    running = start(workers=2, timeout=5.0)
    until(lambda: running.health()["workers"] == 2)
    told(ask(running, "sleep 0", "hangs"))
    hangs = ask(running, words, "hangs")
    others = [told(ask(running, "sleep 0.01", "other"))["count"] for _ in range(20)]
    assert others == list(range(1, 21))
    assert hangs.result(SECONDS).status == 504
    assert told(ask(running, "sleep 0", "hangs"))["count"] == 2
    until(lambda: running.health()["workers"] == 2)
    assert running.restarts() == 1


def test_idle_sessions_are_forgotten(start):
    running = start(session_seconds=0.5)
    told(ask(running, "sleep 0"))
    assert running.health()["sessions"] == 1
    until(lambda: running.health()["sessions"] == 0)
    assert told(ask(running, "sleep 0"))["count"] == 1


def test_the_session_that_is_idle_longest_makes_room(start):
    running = start(max_sessions=2)
    for name in ("old", "young", "old", "new"):
        told(ask(running, "sleep 0", name))
    assert told(ask(running, "sleep 0", "old"))["count"] == 3
    assert told(ask(running, "sleep 0", "young"))["count"] == 1  # so it was forgotten
    busy = [ask(running, "sleep 0.5", name) for name in ("old", "young")]
    with pytest.raises(Full, match="All 2 sessions are busy"):
        ask(running, "sleep 0", "another")
    wait(busy, SECONDS)
    told(ask(running, "sleep 0", "another"))


# Ends of processes


def test_an_idle_worker_that_is_killed_costs_nothing(start):
    running = start(workers=2)
    until(lambda: running.health()["workers"] == 2)
    for round in range(1, 6):
        for process in processes(running):
            os.kill(process, signal.SIGKILL)
        answers = [told(ask(running, "sleep 0", name)) for name in "ab"]
        assert [answer["count"] for answer in answers] == [round, round]
        until(lambda: running.health()["workers"] == 2)
    assert running.restarts() == 10


def test_a_busy_worker_that_dies_fails_its_own_request_alone(start):
    running = start(workers=2)
    until(lambda: running.health()["workers"] == 2)
    told(ask(running, "sleep 0", "victim"))
    for round in range(1, 5):
        other, dead = ask(running, "sleep 0.3", "other"), ask(running, "die", "victim", number=5)
        after = ask(running, "sleep 0", "victim")
        answer = dead.result(SECONDS)
        assert (answer.status, json.loads(answer.body)) == (500, {"frame_number": 5, "error": engine.CRASHED})
        assert told(after)["count"] == round + 1  # it remembers what it did before
        assert told(other)["count"] == round


def test_killed_at_any_moment_under_load(start):
    """Also in the middle of a message: answers here are longer than what a pipe holds."""
    running, stop, rng = start(workers=2, queue=8), threading.Event(), random.Random(0)

    def kill():
        while not stop.is_set():
            until(lambda: running.health()["workers"] == 2 or stop.is_set())
            stop.wait(rng.uniform(0, 0.15))
            with suppress(ProcessLookupError):
                os.kill(rng.choice(processes(running)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    statuses, ends = [], time.monotonic() + 6
    while time.monotonic() < ends:
        futures = [ask(running, "large", name) for name in "abcd"]
        statuses += [future.result(SECONDS).status for future in futures]
    stop.set()
    killer.join()
    assert running.restarts() >= 2
    assert set(statuses) <= {200, 500} and statuses.count(500) <= running.restarts()
    assert statuses.count(200) > 0
    until(lambda: running.health()["workers"] == 2)
    assert [ask(running, "sleep 0", name).result(SECONDS).status for name in "abcd"] == 4 * [200]
    assert (running.health()["queue_length"], running.health()["running"]) == (0, 0)


@pytest.mark.parametrize("way, sentence", [("fail", "There is no model."), ("die", "that loads the model ended")])
def test_a_model_that_cannot_be_loaded_is_tried_again(start, tmp_path, way, sentence):
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    running = start(config=f"{way} {obstacle}")
    assert running.health()["status"] == "warming_up"
    waiting = ask(running, "sleep 0")
    until(lambda: running.health()["status"] == "not_ready")
    health = running.health()
    assert sentence in health["reason"] and not health["ready"]
    assert set(health["models"].values()) == {"not_loaded"}
    with pytest.raises(Full, match=sentence):
        ask(running, "sleep 0")
    obstacle.unlink()
    until(lambda: running.health()["ready"])
    assert told(waiting)["count"] == 1
    assert running.health()["reason"] is None


def test_health_while_it_works(start):
    running = start()
    until(lambda: running.health()["ready"])
    futures = [ask(running, "sleep 0.5"), ask(running, "sleep 0.5"), ask(running, "sleep 0", "other")]
    until(lambda: running.health()["running"] == 1)
    health = running.health()
    assert health["models"] == {
        "hmr2": "not_loaded",
        "phalp": "loaded",
        "vitdet": "not_loaded",
        "mediapipe": "loaded",
        "anny": "loaded",
    }
    rest = {key: value for key, value in health.items() if key not in ("models", "version")}
    assert rest == {
        "status": "ready",
        "ready": True,
        "reason": None,
        "device": "cpu",
        "backend": "mediapipe",
        "workers": 1,
        "processes": 1,
        "queue_length": 2,
        "running": 1,
        "sessions": 2,
        "films": 0,
    }
    wait(futures, SECONDS)


# The end of the service


def test_closing_finishes_what_is_there(start):
    running = start()
    futures = [ask(running, "sleep 0.1", name) for name in "aabb"]
    workers = processes(running)
    closer = threading.Thread(target=running.close, args=(SECONDS,))
    closer.start()
    until(lambda: running.health()["status"] == "not_ready")
    with pytest.raises(Closing, match="is shutting down"):
        ask(running, "sleep 0")
    with pytest.raises(Closing):
        running.track_film(Path("any"), lambda *_: None)
    assert [future.result(SECONDS).status for future in futures] == 4 * [200]
    closer.join(SECONDS)
    assert not any(map(is_running, workers))
    running.close(0.0)


def test_closing_fails_what_does_not_end_in_time(start):
    running = start(workers=2)
    until(lambda: running.health()["workers"] == 2)
    futures = [ask(running, "sleep 1000", "a"), ask(running, "stop", "b"), ask(running, "sleep 0", "a")]
    workers = processes(running)
    running.close(0.3)
    for future in futures:
        assert future.result(0).status == 503
        assert "is shutting down" in json.loads(future.result().body)["error"]
    assert not any(map(is_running, workers))


def test_closing_while_the_model_is_loaded(start):
    running = start()
    waiting = ask(running, "sleep 0")
    running.close(0.0)
    assert waiting.result(0).status == 503


def test_workers_leave_signals_to_whoever_started_them_and_end_with_it(tmp_path):
    """A signal to a whole group, as from Ctrl-C or systemd, fails no request; and the engine itself loads no model."""
    script = tmp_path / "service.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, time
            from pose_factory.service import Request, engine
            from pose_factory.service.settings import Settings

            engine.SERVE = "scripted_worker:serve"
            if __name__ == "__main__":
                running = engine.Engine(Settings(workers=1, backend="mediapipe"))
                while not running.health()["ready"]:
                    time.sleep(0.01)
                process = running._processes[0]._process.pid
                future = running.submit(Request(b"sleep 0.5", 0))
                while not running.health()["running"]:
                    time.sleep(0.01)
                for number in (2, 15):
                    os.kill(process, number)
                assert future.result().status == 200
                heavy = {"torch", "pandas", "scipy", "cv2", "mediapipe"} & sys.modules.keys()
                print(process, *heavy, flush=True)
                time.sleep(100)
            """
        )
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as service:
        process, *heavy = service.stdout.readline().split()
        assert is_running(int(process)) and not heavy
        service.kill()
    until(lambda: not is_running(int(process)))


# Films


def film(folder: Path, name: str, words: str) -> Path:
    path = folder / name
    path.write_text(words)
    return path


def test_films_are_tracked_one_after_the_other_beside_frames(start, tmp_path):
    running, seen = start(), []
    gate = tmp_path / "first.wait"
    gate.touch()
    first, second = (
        running.track_film(film(tmp_path, name, "a wait b"), lambda *counts: seen.append(counts))
        for name in ("first", "second")
    )
    until(lambda: len(seen) == 2)
    assert told(ask(running, "sleep 0"))["count"] == 1
    assert not second.running() and running.health()["films"] == 2
    gate.unlink()
    assert (first.result(SECONDS), second.result(SECONDS)) == (b"first", b"second")
    assert seen == 2 * [(0, None), (1, None), (2, None)]


def test_films_fail_alone_and_in_a_sentence(start, tmp_path):
    running = start()
    futures = {
        words: running.track_film(film(tmp_path, words.replace(" ", ""), words), lambda *_: None)
        for words in ("a fail", "a die", "a")
    }
    with pytest.raises(PoseFactoryError, match="^The film is no film.$"):
        futures["a fail"].result(SECONDS)
    with pytest.raises(PoseFactoryError, match="process ended .*send the film again"):
        futures["a die"].result(SECONDS)
    assert futures["a"].result(SECONDS) == b"a"


def test_a_film_that_hangs_is_ended(start, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "FILM_PATIENCE", 3.0)
    running = start()
    hangs, after = (running.track_film(film(tmp_path, word, word), lambda *_: None) for word in ("stop", "a"))
    with pytest.raises(PoseFactoryError, match="hung"):
        hangs.result(SECONDS)
    assert after.result(SECONDS) == b"a"


def test_films_that_are_given_up(start, tmp_path):
    running, seen = start(), []
    runs = running.track_film(film(tmp_path, "stop", "stop"), lambda *counts: seen.append(counts))
    waits, last = (running.track_film(film(tmp_path, name, "a"), lambda *_: None) for name in ("waits", "last"))
    until(lambda: seen)
    running.stop_film(waits)
    assert waits.cancelled()
    running.stop_film(runs)
    with pytest.raises(PoseFactoryError, match="given up"):
        runs.result(SECONDS)
    assert last.result(SECONDS) == b"last"


def test_closing_gives_up_films(start, tmp_path):
    running, seen = start(), []
    runs = running.track_film(film(tmp_path, "stop", "stop"), lambda *counts: seen.append(counts))
    waits = running.track_film(film(tmp_path, "waits", "a"), lambda *_: None)
    until(lambda: seen)
    running.close(0.2)
    for future in (runs, waits):
        with pytest.raises(PoseFactoryError, match="shut down"):
            future.result(0)
