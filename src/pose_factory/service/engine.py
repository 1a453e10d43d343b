"""The engine: requests in, answers out; sessions, queues and deadlines in between.

What waits, what runs and what each session remembers is kept in this process, guarded by one lock. A thread for each
worker process hands it the next request with its session's memory, and waits. One more thread sees to what must end:
requests whose time is up, with the process that is at them, and sessions that lie idle.
"""

import atexit
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.service import Answer, Closing, Full, Request, Stats
from pose_factory.service.answers import VERSION, failure
from pose_factory.service.processes import DONE, FAILED, Died, Process
from pose_factory.service.settings import Settings

SERVE, TRACK_FILM = "pose_factory.service.worker:serve", "pose_factory.service.worker:track_film"
"""What the processes run."""
TICK = 0.1
"""Seconds between two looks at what must end."""
GLANCE = 0.5
"""Seconds between two looks at whether a process that has nothing to do is still there."""
RELOAD = (1.0, 30.0)
"""Seconds until a model that could not be loaded is tried again: at first, and, doubled each time, at most."""
LONGEST_RETRY = 60
"""Seconds: nobody is asked to come back later than that."""
PATIENCE = 5.0
"""Seconds that a process may take to end when it is killed: a driver may hold it up."""
FILM_PATIENCE = 600.0
"""Seconds without a sign of a film's process after which it is taken to hang."""
MODELS = ("hmr2", "phalp", "vitdet", "mediapipe", "anny")
LOADED = {"mediapipe": {"phalp", "mediapipe", "anny"}, "hmr2": {"phalp", "mediapipe", "hmr2"}}
"""Of these, what is in use with each backend: the association is PHALP's, and MediaPipe's detector stands in for
ViTDet."""
CRASHED = "The process that worked on this frame ended (killed, or out of memory?); send the frame again."

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    request: Request
    arrived: float
    future: "Future[Answer]" = field(default_factory=Future)


@dataclass(eq=False)
class _Session:
    used: float
    waiting: deque[_Job] = field(default_factory=deque)
    running: bool = False
    memory: bytes | None = None

    @property
    def idle(self) -> bool:
        return not (self.running or self.waiting)


@dataclass(eq=False)
class _Film:
    path: Path
    progress: Callable[[int, int | None], None]
    future: "Future[bytes]" = field(default_factory=Future)
    process: Process | None = None
    given_up: bool = False


class Engine:
    """See pose_factory.service. To be closed when done."""

    def __init__(self, settings: Settings) -> None:
        """Start the worker processes that `settings` ask for; returns at once, while they load the model."""
        self._settings = settings
        self._changed = threading.Condition()
        self._sessions: dict[str, _Session] = {}
        self._turns: deque[str] = deque()  # the sessions that have something to run, each once
        self._running: dict[_Job, Process] = {}
        self._processes: dict[int, Process] = {}
        self._devices: dict[int, str] = {}  # of the workers that are ready
        self._trouble = ""  # why the model could not be loaded, if the last try failed
        self._delay = RELOAD[0]  # seconds until the next try then
        self._started = 0
        self._pace = 0.0  # seconds that a request keeps a worker busy, of late
        self._films: deque[_Film] = deque()  # the first one is being tracked
        self._closing = self._ended = False
        work = {f"worker-{number}": (self._work, number) for number in range(settings.workers)}
        self._threads = [
            threading.Thread(target=target, args=args, name=name, daemon=True)
            for name, (target, *args) in {**work, "watch": (self._watch,), "films": (self._track_films,)}.items()
        ]
        atexit.register(self.close, 0.0)  # else Python would wait for the processes
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request) -> "Future[Answer]":
        """Queue a request. The future always comes to an Answer, also of a failure (status 500), when the time is up
        (504: `settings.timeout` seconds after this call) and when the engine is closed first (503); cancelled while it
        waits, the request is dropped. Requests of one session are answered in the order in which they came, one at a
        time; sessions take turns.

        Raises Full, also while the model cannot be loaded, and Closing.
        """
        with self._changed:
            self._check_open()
            if self._trouble and not self._devices:
                raise Full(f"The model is not there: {self._trouble}", math.ceil(self._delay))
            busy = self._waiting() + len(self._running)
            if busy >= self._settings.queue:
                raise Full(f"There are {busy} requests waiting or running, the most there may be.", self._retry_after())
            session = self._session(request.session_id)
            job = _Job(request, time.monotonic())
            session.waiting.append(job)
            self._line_up(request.session_id)
        return job.future

    def track_film(self, path: Path, progress: Callable[[int, int | None], None]) -> "Future[bytes]":
        """Track a whole film, in a process of its own, so that frames are not held up; one film at a time, in the order
        in which they came.

        `progress` is called, in another thread, with how many frames have been gone through and how many there are in
        all, as far as is known. The future comes to the result as JSON (see worker.track_film), or to a
        PoseFactoryError with a sentence: not a film, process died, given up, closed first; cancelled while it waits,
        the film is dropped. The file must stay until then; it is the caller's to delete.

        Raises Closing.
        """
        film = _Film(path, progress)
        with self._changed:
            self._check_open()
            self._films.append(film)
            self._changed.notify_all()
        return film.future

    def stop_film(self, future: "Future[bytes]") -> None:
        """Give up a film, whether it waits or is being tracked."""
        if not future.cancel():
            with self._changed:
                for film in self._films:
                    if film.future is future:
                        film.given_up = True
                        if film.process:
                            film.process.kill()

    def health(self) -> dict:
        """At once, from memory: status (warming_up, ready or not_ready), ready, reason (a sentence, or None where it
        is ready), models ({name: loaded or not_loaded}), device, backend, workers (how many are ready), processes
        (how many there should be), queue_length, running, sessions, films, version."""
        with self._changed:
            ready = bool(self._devices) and not self._closing
            if self._closing:
                status, reason = "not_ready", "The service is shutting down."
            elif self._trouble and not ready:
                status, reason = "not_ready", self._trouble
            else:
                status, reason = ("ready", None) if ready else ("warming_up", "The model is being loaded.")
            there = LOADED[self._settings.backend] if self._devices else ()
            return {
                "status": status,
                "ready": ready,
                "reason": reason,
                "models": {name: "loaded" if name in there else "not_loaded" for name in MODELS},
                "device": next(iter(self._devices.values()), None),
                "backend": self._settings.backend,
                "workers": len(self._devices),
                "processes": self._settings.workers,
                "queue_length": self._waiting(),
                "running": len(self._running),
                "sessions": len(self._sessions),
                "films": len(self._films),
                "version": VERSION,
            }

    def queue_length(self) -> int:
        """Requests that wait."""
        with self._changed:
            return self._waiting()

    def restarts(self) -> int:
        """How often a worker process was started to replace one that died or was killed."""
        with self._changed:
            return max(self._started - self._settings.workers, 0)

    def close(self, grace: float) -> None:
        """Take nothing new, finish what is queued and running for up to `grace` seconds, of the films only the one that
        is being tracked, fail the rest, and end all processes. May be called more than once, from any thread."""
        with self._changed:
            self._closing = True
            waiting = list(self._films)[1:]
            self._films = deque(list(self._films)[:1])
            self._changed.notify_all()
        for film in waiting:
            _settle(film.future, PoseFactoryError("The service shut down before this film's turn; send it again."))
        with self._changed:
            self._changed.wait_for(lambda: not (self._running or self._waiting() or self._films), grace)
            self._ended = True
            jobs = [*self._running, *(job for session in self._sessions.values() for job in session.waiting)]
            for session in self._sessions.values():
                session.waiting.clear()
            for process in [*self._processes.values(), *(film.process for film in self._films if film.process)]:
                process.kill()
            self._changed.notify_all()
        for job in jobs:
            self._finish(job, _answer(job, 503, "The service is shutting down; send the frame again."))
        for thread in self._threads:
            thread.join(PATIENCE)
        atexit.unregister(self.close)

    # Sessions and turns. All of these are called with the lock held.

    def _check_open(self) -> None:
        if self._closing:
            raise Closing("The service is shutting down; try again in a while.")

    def _waiting(self) -> int:
        return sum(len(session.waiting) for session in self._sessions.values())

    def _session(self, name: str) -> _Session:
        """The session of that name, perhaps a new one, for which the one that has been idle longest makes room."""
        if name not in self._sessions:
            if len(self._sessions) >= self._settings.max_sessions:
                idle = [other for other, session in self._sessions.items() if session.idle]
                if not idle:
                    raise Full(f"All {len(self._sessions)} sessions are busy.", self._retry_after())
                del self._sessions[min(idle, key=lambda other: self._sessions[other].used)]
            self._sessions[name] = _Session(time.monotonic())
        return self._sessions[name]

    def _line_up(self, name: str) -> None:
        session = self._sessions[name]
        if session.waiting and not session.running and name not in self._turns:
            self._turns.append(name)
            self._changed.notify_all()

    def _retry_after(self) -> int:
        """Whole seconds until what waits and runs should be done."""
        seconds = self._pace * (self._waiting() + len(self._running)) / self._settings.workers
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY)

    # Workers

    def _work(self, number: int) -> None:
        """Keep one worker process going."""
        delay = RELOAD[0]
        while not self._ended:
            trouble = self._employ(number)
            if not trouble:
                delay = RELOAD[0]
                continue
            log.error("%s", trouble)
            with self._changed:
                self._trouble, self._delay = trouble, delay
                self._changed.wait_for(lambda: self._ended, delay)
            delay = min(2 * delay, RELOAD[1])

    def _employ(self, number: int) -> str:
        """One worker process, from its start to its end; the reason, if it never came to answer anything."""
        try:
            process = Process(SERVE, self._settings)
        except OSError as error:
            return f"No process can be started: {error.strerror or error}."
        with self._changed:
            self._started += 1
            self._processes[number] = process
            if self._ended:
                process.kill()
        trouble = self._load(number, process)
        if not trouble:
            self._serve(process)
        with self._changed:
            self._devices.pop(number, None)
        process.kill()
        process.join()
        return trouble

    def _load(self, number: int, process: Process) -> str:
        """Wait until the process has loaded the model; if it has not, the reason."""
        try:
            kind, told = process.receive()
        except Died:
            return "" if self._ended else "The process that loads the model ended (killed, or out of memory?)."
        if kind == FAILED:
            return told
        with self._changed:
            self._devices[number], self._trouble = told, ""
        log.info("worker ready", extra={"event": "ready", "worker": number, "device": told})
        return ""

    def _serve(self, process: Process) -> None:
        """Have the process answer what comes, until it ends."""
        while job := self._next(process):
            memory, begun, started = self._sessions[job.request.session_id].memory, time.monotonic(), False
            try:
                process.send((job.request, memory))
                process.receive()  # that it has begun
                started = True
                _, (answer, memory) = process.receive()
            except Died:
                if not started and not job.future.done():
                    self._put_back(job)  # it was not this request that it died of
                    return
                answer = _answer(job, 500, CRASHED)
            waited, busy = begun - job.arrived, time.monotonic() - begun
            with self._changed:
                self._pace = 0.9 * self._pace + 0.1 * busy if self._pace else busy
            stats = replace(answer.stats, seconds={"queue": waited} | answer.stats.seconds)
            self._finish(job, replace(answer, stats=stats), memory)

    def _next(self, process: Process) -> _Job | None:
        """The next request, once there is one; None where the process has ended."""
        with self._changed:
            while not self._ended and process.is_alive():
                while self._turns:
                    session = self._sessions.get(self._turns.popleft())  # it may have expired, all its time being up
                    while session and session.waiting:
                        job = session.waiting.popleft()
                        if job.future.done():  # its time was up when its process died
                            continue
                        if job.future.running() or job.future.set_running_or_notify_cancel():
                            session.running = True
                            self._running[job] = process
                            return job
                self._changed.wait(GLANCE)
        return None

    def _put_back(self, job: _Job) -> None:
        with self._changed:
            session = self._sessions[job.request.session_id]
            self._running.pop(job, None)
            session.running = False
            session.waiting.appendleft(job)
            self._line_up(job.request.session_id)

    def _finish(self, job: _Job, answer: Answer, memory: bytes | None = None) -> None:
        """Answer a request that ran; the session remembers `memory` from now on, unless that is None."""
        with self._changed:
            if self._running.pop(job, None):
                session = self._sessions[job.request.session_id]
                session.running, session.used = False, time.monotonic()
                session.memory = memory or session.memory
                self._line_up(job.request.session_id)
                self._changed.notify_all()
        if _settle(job.future, answer):
            _tell(job, answer)

    # What must end

    def _watch(self) -> None:
        while not self._ended:
            with self._changed:
                self._changed.wait_for(lambda: self._ended, TICK)
                limit = time.monotonic() - self._settings.timeout
                late = [job for job in self._running if job.arrived < limit]
                for job in late:
                    self._running[job].kill()
                for session in self._sessions.values():
                    while session.waiting and session.waiting[0].arrived < limit:
                        late.append(session.waiting.popleft())
                expired = time.monotonic() - self._settings.session_seconds
                for name in [name for name, s in self._sessions.items() if s.idle and s.used < expired]:
                    del self._sessions[name]
                sentence = f"There was no answer within {self._settings.timeout:g} seconds; try again."
                answers = [(job, _answer(job, 504, sentence)) for job in late]
                settled = [(job, answer) for job, answer in answers if _settle(job.future, answer)]
            for job, answer in settled:
                _tell(job, answer)

    # Films

    def _track_films(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._films or self._ended)
                if self._ended and not self._films:
                    return
                film = self._films[0]
            if film.future.set_running_or_notify_cancel():
                _settle(film.future, self._track_film(film))
            with self._changed:
                self._films.remove(film)
                self._changed.notify_all()

    def _track_film(self, film: _Film) -> bytes | PoseFactoryError:
        """The film's result, or why there is none."""
        try:
            process = Process(TRACK_FILM, self._settings, film.path)
        except OSError as error:
            return PoseFactoryError(f"No process can be started: {error.strerror or error}; send the film again.")
        with self._changed:
            film.process = process
            if self._ended or film.given_up:
                process.kill()
        try:
            while True:
                kind, told = process.receive(FILM_PATIENCE)
                if kind == DONE:
                    return told
                if kind == FAILED:
                    return PoseFactoryError(told)
                film.progress(*told)
        except TimeoutError:
            return PoseFactoryError("The film's process hung and was ended; convert the film to an H.264 MP4.")
        except Died:
            if film.given_up:
                return PoseFactoryError("The film was given up.")
            if self._ended:
                return PoseFactoryError("The service shut down before the film was tracked; send it again.")
            return PoseFactoryError("The film's process ended (killed, or out of memory?); send the film again.")
        finally:
            process.kill()
            process.join()


def _answer(job: _Job, status: int, sentence: str) -> Answer:
    return Answer(status, failure(job.request.frame_number, sentence), Stats())


def _settle(future: Future, outcome: Answer | bytes | PoseFactoryError) -> bool:
    """Whether it was this that the future came to, and not something before."""
    with suppress(InvalidStateError):
        if isinstance(outcome, PoseFactoryError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return True
    return False


def _tell(job: _Job, answer: Answer) -> None:
    stats = answer.stats
    log.info(
        "frame",
        extra={
            "event": "frame",
            "session_id": job.request.session_id,
            "frame_number": job.request.frame_number,
            "status": answer.status,
            "source": stats.source,
            "tracking_confidence": stats.confidence,
            "new_sequence": stats.new_sequence,
            "repeat": stats.repeat,
            "ms": {stage: round(1000 * seconds, 1) for stage, seconds in stats.seconds.items()},
        },
    )
