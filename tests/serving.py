"""The pose service for tests: the real one in a process of its own, and its HTTP side alone with an engine of paper."""

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import requests
from PIL import Image
from waitress import wasyncore

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Answer, Closing, Full, Request, Stats
from pose_factory.service.app import make_app
from pose_factory.service.server import Server
from pose_factory.service.settings import Settings
from workflow import REPOSITORY

START_SECONDS = 120
"""For the models to load, on a machine that is busy."""


# Pictures


def encoded(image: np.ndarray, suffix: str = "jpeg", **options: object) -> bytes:
    """A file of that kind of the RGB image (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, suffix, **options)
    return file.getvalue()


def asked(file: bytes, frame_number: int = 0, **more: object) -> dict:
    """The JSON to post of an image file."""
    return {"image_base64": base64.b64encode(file).decode(), "frame_number": frame_number, **more}


def plain(width: int = 32, height: int = 24) -> bytes:
    """A small picture with nobody in it."""
    return encoded(np.full((height, width, 3), 90, np.uint8))


def person() -> bytes:
    """A picture of a rendered person: the first one of the contact sheet in the documents."""
    with Image.open(REPOSITORY / "docs" / "contact_sheet.jpg") as sheet:
        return encoded(np.array(sheet.convert("RGB").crop(PERSON)))


PERSON = (0, 0, 200, 200)


# The real service


@dataclass
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen
    log_file: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str, **options: object) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, **options: object) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **options)

    def wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while (health := self.get("/health").json())["status"] == "warming_up":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert health["ready"], self.log_file.read_text()

    def log(self) -> list[dict]:
        """The lines of the log that are JSON; those of libraries are not."""
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"time"')]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def service(**environment: str) -> Iterator[Service]:
    """The real service on a free port of the loopback device, in a session of processes of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("POSE_SERVICE_")}
    with tempfile.TemporaryDirectory() as folder:
        log_file = Path(folder, "log")
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pose_factory.service", "serve"],
                env=kept | {"POSE_SERVICE_PORT": "0", "TMPDIR": folder} | environment,
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            line = process.stdout.readline()
            assert "http://" in line, log_file.read_text()
            yield Service(line.split()[-1], process, log_file)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


def processes_of(service: Service) -> list[int]:
    """The ids of the service's processes that are alive, its own included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == service.process.pid:  # of its session
                found.append(int(path.parent.name))
    return found


def none_is_left(service: Service) -> bool:
    """Whether all of the service's processes end now that it has; they may take a moment to notice."""
    until = time.monotonic() + 20
    while processes_of(service) and time.monotonic() < until:
        time.sleep(0.05)
    return not processes_of(service)


# The HTTP side alone


@dataclass
class PaperEngine:
    """What the HTTP side asks of an engine, without one: every request is answered at once, or as `answers` says."""

    answers: Callable[[Request], Future] | None = None
    requests: list[Request] = field(default_factory=list)
    films: list[tuple[Path, Callable, Future]] = field(default_factory=list)
    stopped: list[Future] = field(default_factory=list)
    closing: bool = False
    full: bool = False

    def submit(self, request: Request) -> Future:
        self._check()
        self.requests.append(request)
        if self.answers:
            return self.answers(request)
        future = Future()
        body = json.dumps({"frame_number": request.frame_number, "error": None}).encode()
        future.set_result(Answer(200, body, Stats({"detect": 0.01, "fit": 0.02}, "detected", 0.9)))
        return future

    def track_film(self, path: Path, progress: Callable) -> Future:
        self._check()
        future = Future()
        self.films.append((path, progress, future))
        return future

    def stop_film(self, future: Future) -> None:
        self.stopped.append(future)
        future.set_exception(PoseFactoryError("The film was given up."))

    def health(self) -> dict:
        return {"status": "ready", "ready": True, "models": {}, "device": "cpu", "sessions": 3}

    def queue_length(self) -> int:
        return 7

    def restarts(self) -> int:
        return 1

    def close(self, grace: float) -> None:
        self.closing = True

    def _check(self) -> None:
        if self.closing:
            raise Closing("The service is shutting down.")
        if self.full:
            raise Full("There are 64 requests waiting already.", 3)


@contextlib.contextmanager
def paper_service(engine: PaperEngine, **settings: object) -> Iterator[tuple[str, Server]]:
    """The address of a server in this process, with the real HTTP side before `engine`."""
    chosen = replace(Settings.from_environment({}), **settings)
    app = make_app(chosen, engine)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(app, listener, chosen, app.extensions["metrics"].error)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", server
    finally:
        app.extensions["jobs"].close()
        server.task_dispatcher.shutdown(timeout=1)
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(5)
