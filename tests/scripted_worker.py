"""A worker of the service that does what its requests tell it in place of an image: for tests of what is around it.

Words: `sleep S` seconds, `die` by SIGKILL, `stop` as by SIGSTOP, `large` answer. The memory that it gives back is one
byte longer than the one that it got. The settings' `config` is how it loads: `fail PATH` or `die PATH`, while the file
PATH is there.
"""

import json
import os
import signal
import time
from pathlib import Path

from pose_factory.service import Answer, Stats
from pose_factory.service.processes import DONE, FAILED, PROGRESS, READY, STARTED

LARGE = 30_000_000


def serve(connection, settings) -> None:
    _obey_while_there(connection, settings.config)
    connection.send((READY, "cpu"))
    while True:
        request, memory = connection.recv()
        connection.send((STARTED, None))
        began = time.time()
        word, *arguments = request.image.decode().split()
        large = ""
        if word == "sleep":
            time.sleep(float(arguments[0]))
        elif word == "large":
            large = "x" * LARGE
        else:
            _end(word)
        memory = (memory or b"") + b"."
        told = {"count": len(memory), "began": began, "ended": time.time(), "process": os.getpid(), "large": large}
        told["blas"] = os.environ.get("OPENBLAS_NUM_THREADS")
        connection.send(
            (DONE, (Answer(200, json.dumps(told).encode(), Stats({"detect": 0.5}, "detected", 0.9)), memory))
        )


def track_film(connection, settings, path: Path) -> None:
    for index, word in enumerate(path.read_text().split()):
        connection.send((PROGRESS, (index, None)))
        if word == "fail":
            connection.send((FAILED, "The film is no film."))
            return
        if word == "wait":
            while path.with_suffix(".wait").exists():
                time.sleep(0.01)
        _end(word)
    connection.send((DONE, path.name.encode()))


def _end(word: str) -> None:
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)


def _obey_while_there(connection, order: str) -> None:
    word, _, path = order.partition(" ")
    if path and Path(path).exists():
        _end(word)
        connection.send((FAILED, "There is no model."))
        time.sleep(60)
