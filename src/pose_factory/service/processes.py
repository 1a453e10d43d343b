"""Processes of our own, each at the other end of a pipe that it shares with nobody.

Pools that others wrote (multiprocessing's, concurrent.futures', pebble's) let all their workers share a pipe and locks:
one that is killed at the wrong moment leaves a lock taken or half a message behind, and the whole pool stands still or
has to be thrown away. Here the end of a process is the end of its pipe and of nothing else.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from pose_factory.service.logs import log_as_json

STARTED, READY, PROGRESS, DONE, FAILED = "started", "ready", "progress", "done", "failed"
"""What processes tell, in pairs of one of these and what belongs to it."""

_BLAS_ALONE = threading.Lock()
"""NumPy's library takes a thread for each core as it is loaded, which for matrices as small as ours only spin."""
_CONTEXT = multiprocessing.get_context("spawn")  # threads and CUDA do not survive a fork


class Died(Exception):
    """The process ended before it answered."""


class Process:
    """A process that runs the function `target`, "module:name", with one end of a connection and `args`; the other end
    is here. Only that process need import the module.

    It heeds neither Ctrl-C nor SIGTERM, which may be sent to all processes of a service at once: it is for whoever
    started it to end it. It notices when that one is gone, because its connection ends.
    """

    def __init__(self, target: str, *args: Any) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_run, args=(target, theirs, args), daemon=True)
        with _BLAS_ALONE, _variable("OPENBLAS_NUM_THREADS", "1"):
            self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def send(self, message: Any) -> None:
        """Raises Died."""
        try:
            self._connection.send(message)
        except OSError as error:
            raise Died from error

    def receive(self, patience: float | None = None) -> Any:
        """The next message. Raises Died; TimeoutError after `patience` seconds without one, if that is given."""
        try:
            if patience is None or self._connection.poll(patience):
                return self._connection.recv()
        except (EOFError, OSError) as error:  # nothing more, or half a message
            raise Died from error
        raise TimeoutError

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it, whatever it is at; may be called from any thread, and again."""
        self._process.kill()

    def join(self) -> None:
        """Wait for the end of one that was killed, and let go of what it had."""
        self._process.join()
        self._connection.close()


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the processes that are started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _run(target: str, connection: Connection, args: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log_as_json()
    module, name = target.split(":")
    try:
        getattr(import_module(module), name)(connection, *args)
    except (EOFError, ConnectionError):
        logging.getLogger(__name__).info("Whoever started this process is gone; it ends, too.")
