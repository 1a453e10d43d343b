"""Films that are tracked in the background: taken in, looked after, and forgotten in time."""

import logging
import os
import secrets
import tempfile
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Full

if TYPE_CHECKING:  # which brings PyTorch
    from pose_factory.service.engine import Engine

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
RETRY_SECONDS = 30
"""When to come back with a film for which there is no room."""

log = logging.getLogger(__name__)


@dataclass
class Job:
    """One film. Its id is not to be guessed: whoever has it may see the result."""

    id: str
    film: Path
    result: Path
    future: "Future[bytes] | None" = None
    status: str = QUEUED
    frames_done: int = 0
    frames: int | None = None
    """How many there are in all, as far as is known."""
    error: str | None = None
    ended: float | None = None
    """When, by time.monotonic()."""

    @property
    def progress(self) -> float:
        """0 to 1; by the frames, where their number is known."""
        if self.status == DONE:
            return 1.0
        return min(self.frames_done / self.frames, 1.0) if self.frames else 0.0


class Jobs:
    """All films of one app, in a folder of their own that goes with it. To be closed when done."""

    def __init__(self, engine: "Engine", most: int, keep_seconds: float) -> None:
        """At most so many at a time, finished ones too, which are kept for so long."""
        self._engine, self._most, self._keep = engine, most, keep_seconds
        self._folder = tempfile.TemporaryDirectory(prefix="pose-service-")
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._janitor = threading.Event()
        threading.Thread(target=self._tidy, daemon=True, name="films-janitor").start()

    @property
    def folder(self) -> str:
        """Where an upload may be written to for `add`."""
        return self._folder.name

    def check_room(self) -> None:
        """Raises Full where there is no room for one more film."""
        with self._lock:
            self._forget_old()
            if len(self._jobs) >= self._most and all(job.ended is None for job in self._jobs.values()):
                raise Full(f"There are {len(self._jobs)} films waiting or running already.", RETRY_SECONDS)

    def add(self, upload: Path) -> Job:
        """Queue the film in the file `upload`, of which a link is taken. Where there are too many, the one that ended
        first makes room. Raises Full and Closing."""
        self.check_room()
        name = secrets.token_urlsafe(18)
        job = Job(name, Path(self.folder, f"{name}.film"), Path(self.folder, f"{name}.json"))
        os.link(upload, job.film)
        try:
            job.future = self._engine.track_film(job.film, lambda done, frames: self._advance(job, done, frames))
        except PoseFactoryError:
            job.film.unlink()
            raise
        with self._lock:
            ended = sorted((other for other in self._jobs.values() if other.ended), key=lambda other: other.ended)
            for other in ended[: max(len(self._jobs) + 1 - self._most, 0)]:
                self._discard(self._jobs.pop(other.id))
            self._jobs[name] = job
        job.future.add_done_callback(lambda future: self._end(job, future))
        return job

    def find(self, name: str) -> Job | None:
        """The job of that id, if it is still known."""
        with self._lock:
            self._forget_old()
            return self._jobs.get(name)

    def drop(self, name: str) -> bool:
        """Cancel a film, or forget its result; whether there was one."""
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is not None:
            self._discard(job)
        return job is not None

    def count(self) -> int:
        """How many are known, finished ones too."""
        return len(self._jobs)

    def close(self) -> None:
        """Cancel and forget all."""
        self._janitor.set()
        for name in list(self._jobs):
            self.drop(name)
        self._folder.cleanup()

    def _advance(self, job: Job, done: int, frames: int | None) -> None:
        job.status, job.frames_done, job.frames = RUNNING, done, frames

    def _end(self, job: Job, future: "Future[bytes]") -> None:
        job.film.unlink(missing_ok=True)
        status, job.error = FAILED, None
        try:
            job.result.write_bytes(future.result())
            status = DONE
        except PoseFactoryError as error:
            job.error = str(error)
        except CancelledError:
            job.error = "The film was cancelled."
        except OSError as error:
            job.error = f"The result could not be kept: {error.strerror}."
        job.ended = time.monotonic()
        job.status = status
        if self._jobs.get(job.id) is not job:  # dropped meanwhile
            job.result.unlink(missing_ok=True)
        log.info("film ended", extra={"event": "film", "status": status, "frames": job.frames_done, "error": job.error})

    def _discard(self, job: Job) -> None:
        if job.ended is None:
            self._engine.stop_film(job.future)
        job.result.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        """Called with the lock held."""
        for job in list(self._jobs.values()):
            if job.ended is not None and time.monotonic() - job.ended > self._keep:
                self._discard(self._jobs.pop(job.id))

    def _tidy(self) -> None:
        """Forget in time also when nobody asks."""
        while not self._janitor.wait(min(self._keep, 30)):
            with self._lock:
                self._forget_old()
