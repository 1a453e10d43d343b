"""What runs in the service's processes: one that answers frames has loaded the model and knows nothing of sessions but
what comes with each request; one that tracks a film lives as long as that takes."""

import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import av
import cv2
import numpy as np
import orjson
import torch

from pose_factory.bodies.anny_body import bare_body
from pose_factory.errors import PoseFactoryError
from pose_factory.fitting.fit import fit
from pose_factory.fitting.fitted import FittedBody
from pose_factory.footage import Footage, Video
from pose_factory.service import DEFAULT_SESSION, FPS, Answer, Request, Stats, answers, images
from pose_factory.service.answers import Body3D, Person
from pose_factory.service.live import LiveTracker, Memory, Turn, digest, turn
from pose_factory.service.processes import DONE, FAILED, PROGRESS, READY, STARTED
from pose_factory.service.settings import Settings
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import Backend, camera, make_backend
from pose_factory.tracking.people import DETECTED, REDETECTED, Pose, Track, bounds
from pose_factory.tracking.session import Sighting, follow

BODIES = {"mediapipe": "anny", "hmr2": "smpl"}
"""Whose body each backend's answers have."""
PEOPLE = 10
"""So many people are followed in a session, the surest in each image: all that is known of one is remembered."""
SIGN_SECONDS = 60.0
"""A film's process gives a sign of life so often, also where there is no progress to tell of."""
KINDNESS = 10
"""By how much a film's process is nicer than those that answer frames."""

log = logging.getLogger(__name__)


def serve(connection: Connection, settings: Settings) -> None:
    """Load the model, tell READY and the device or FAILED and a sentence; then take pairs of a request and a session's
    state, one after the other, and tell STARTED at once and DONE with what Model.answer gives."""
    try:
        model = Model(settings)
        model.warm_up()
    except PoseFactoryError as error:
        connection.send((FAILED, str(error)))
        return
    except Exception as error:  # the service goes on and says why it cannot answer
        log.exception("The model cannot be loaded")
        connection.send((FAILED, f"The model cannot be loaded: {_told(error)}."))
        return
    connection.send((READY, model.device))
    while True:
        request, state = connection.recv()
        connection.send((STARTED, None))
        connection.send((DONE, model.answer(request, state)))


def track_film(connection: Connection, settings: Settings, path: Path) -> None:
    """Track the film at `path` in batch mode; tell PROGRESS with how many images have been gone through and how many
    there should be, or None, and in the end DONE with the JSON or FAILED with a sentence.

    The JSON is an object: frame_count, fps, frame_width, frame_height, people (how many there are), coverage (the share
    of frames with a pose), warnings (sentences about damage) and answers, one for each frame: what `/pose/hybrid` says
    of the person who is seen in most frames, without the mesh.
    """
    os.nice(KINDNESS)
    try:
        with _signs_of_life(connection) as progress:
            result = _film(settings, path, progress)
    except PoseFactoryError as error:
        connection.send((FAILED, str(error).replace(str(path), "The film")))  # which is a temporary file's
        return
    except Exception as error:  # told to whoever sent the film
        log.exception("A film cannot be tracked")
        connection.send((FAILED, f"The film cannot be tracked: {_told(error)}."))
        return
    connection.send((DONE, result))


class Model:
    """All that is loaded once and answers frames."""

    def __init__(self, settings: Settings) -> None:
        """Raises PoseFactoryError where something is missing."""
        # Whoever is answered has a pose until they are given up; the limit is for those who come and go in a film.
        self._settings = settings.tracking | {"fill": settings.tracking["fill"] | {"predicted_limit": None}}
        self._backend = make_backend(settings.tracking, _limit_threads(settings.workers))
        self._triangles = answers.faces(_triangles(self._backend))
        self._name = _name(settings)
        self.device = _device(settings)

    def warm_up(self) -> None:
        """What the first person would otherwise wait for."""
        image = np.full((64, 64, 3), 128, np.uint8)
        self._backend.detect([image])
        standing = _standing(self._backend.joints, (64, 64))
        LiveTracker(self._backend, self._settings, (64, 64), FPS).body(standing)

    def answer(self, request: Request, state: bytes | None) -> tuple[Answer, bytes | None]:
        """The answer, and what the session is to remember; `state` is what it remembers so far, and still does after a
        failure."""
        stages = Stages()
        try:
            with stages("decode"):
                image = images.decode(request.image)
        except PoseFactoryError as error:
            return _failed(request, 400, str(error), stages), state
        try:
            return self._answer(request, image, state, stages)
        except Exception as error:  # whatever goes wrong with one image, the process answers the next
            log.exception("The model failed on a frame")
            return _failed(request, 500, f"The model failed on this frame: {_told(error)}.", stages), state

    def _answer(
        self, request: Request, image: np.ndarray, state: bytes | None, stages: "Stages"
    ) -> tuple[Answer, bytes | None]:
        size = image.shape[1], image.shape[0]
        with stages("detect"):
            found = self._backend.detect([image])[0][:PEOPLE]
        with stages("follow"):
            memory: Memory | None = pickle.loads(state) if state else None
            mark = digest(request.image)
            named, patience = request.session_id != DEFAULT_SESSION, self._settings["association"]["max_age"]
            now = turn(memory, request.frame_number, mark, size, named, patience)
            before = {Turn.FIRST: None, Turn.REPEAT: memory and memory.before}.get(now, memory and memory.after)
            if before is None or memory.size != size:
                tracker = LiveTracker(self._backend, self._settings, size, request.fps)
            else:
                tracker = LiveTracker.thaw(before, self._backend, self._settings)
            frame = memory.number + 1 if now == Turn.LATE else request.frame_number
            sighting = tracker.step(frame, image, found)
        with stages("fit"):
            body = tracker.body(sighting) if sighting and request.body else None
        with stages("encode"):
            if now in (Turn.FIRST, Turn.NEXT):
                memory = Memory(request.frame_number, mark, size, before, tracker.freeze())
                state = pickle.dumps(memory, pickle.HIGHEST_PROTOCOL)
            person = Person(sighting, self._backend.joints, body) if sighting else None
            told = answers.envelope(request.frame_number, request.session_id, size, person, self._triangles, self._name)
            if request.visualize:
                told["visualization"] = images.draw(image, sighting, self._backend.joints)
            told["processing_time_ms"] = round(1000 * stages.total(), 2)
            encoded = answers.encode(told)
        stats = Stats(
            stages.seconds, told["source"], told["tracking_confidence"], now == Turn.FIRST, now == Turn.REPEAT
        )
        return Answer(200, encoded, stats), state


class Stages:
    """A stop-watch for what follows each other: `with stages(name)`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start


@contextmanager
def _signs_of_life(connection: Connection) -> Iterator[Callable[[int, int | None], None]]:
    """Something to tell PROGRESS with, which is also told again every SIGN_SECONDS, as long as Python runs here."""
    lock, over, last = threading.Lock(), threading.Event(), (0, None)

    def tell(*counts: int | None) -> None:
        nonlocal last
        with lock:
            last = counts or last
            connection.send((PROGRESS, last))

    def repeat() -> None:
        with suppress(OSError):  # whoever listened is gone
            while not over.wait(SIGN_SECONDS):
                tell()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        over.set()
        thread.join()


class _Counted:
    """Footage that tells how far it has been gone through, the first time."""

    def __init__(self, footage: Footage, tell: Callable[[int], None]) -> None:
        self._footage, self._tell, self._told = footage, tell, 0
        self.fps, self.size, self.times = footage.fps, footage.size, footage.times

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for count, item in enumerate(self._footage, start=1):
            if count > self._told:
                self._told = count
                self._tell(count)
            yield item


def _standing(names: list[str], size: tuple[int, int]) -> Sighting:
    """A made-up sighting of somebody who stands there, whose joints are called `names`."""
    turns = np.tile(np.eye(3), (1, len(bare_body().bones), 1, 1))
    turns[:, 0] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]  # Z up to y down
    whole = FittedBody(np.zeros(1, int), np.array([DETECTED]), turns, np.array([[0, 0, 40.0]]), np.full(6, 0.5))
    about = Body3D.about_hips(whole.joints()[0], np.empty((0, 3)))
    joints = about.joints[[JOINTS.index(name) for name in names]]
    pixels = camera.project(joints, about.translation, *size)
    smpl = np.tile(np.eye(3), (24, 1, 1)), np.zeros(10)
    pose = Pose(bounds(pixels), 1.0, pixels, joints, np.ones(len(names)), about.translation, *smpl, np.zeros(1))
    return Sighting(1, 0, pose, DETECTED, True)


def _film(settings: Settings, path: Path, progress: Callable[[int, int | None], None]) -> bytes:
    from pose_factory.tracking.output import smoothly  # brings pandas, which frames do without

    chosen = settings.tracking["smoothing"]["filter"]
    tracking = settings.tracking | {
        "mode": "batch",
        "smoothing": settings.tracking["smoothing"] | {"filter": "none" if chosen == "none" else "savitzky_golay"},
    }
    film = Video(path)
    width, height = film.size
    if width * height > settings.max_pixels:
        raise PoseFactoryError(
            f"The film has {width} x {height} pixels, more than {settings.max_pixels:,} in all; send a smaller one."
        )
    total = _announced(path)
    progress(0, total)
    backend = make_backend(tracking, _limit_threads(settings.workers))
    footage = _Counted(film, lambda count: progress(count, max(total, count) if total else None))
    followed = smoothly(follow(footage, backend, tracking), film, backend, tracking)
    main = max(followed.tracks, key=lambda track_id: _seen(followed.tracks[track_id]), default=None)
    people = {}
    if main is not None:
        track = followed.tracks[main]
        bodies = _bodies(track, backend, film, tracking)
        for row, (frame, provenance) in enumerate(zip(track.frames, track.provenance, strict=True)):
            sighting = Sighting(main, int(frame), track.pose(row), provenance, True)
            people[int(frame)] = Person(sighting, backend.joints, bodies[row])
    name, no_faces = _name(settings), orjson.Fragment(b"[]")
    told = [answers.envelope(frame, "film", film.size, people.get(frame), no_faces, name) for frame in followed.frames]
    return answers.encode(
        {
            "frame_count": len(followed.frames),
            "fps": film.fps,
            "frame_width": width,
            "frame_height": height,
            "people": len(followed.tracks),
            "coverage": len(people) / len(followed.frames),
            "warnings": film.warnings,
            "answers": told,
        }
    )


def _bodies(track: Track, backend: Backend, film: Video, tracking: dict) -> list[Body3D]:
    """The body in each frame of a track, without its skin."""
    none = np.empty((0, 3))
    if hasattr(backend, "mesh"):
        return [Body3D(joints, none, at) for joints, at in zip(track.joints, track.translation, strict=True)]
    fitted = fit(track, backend.joints, film.fps, film.size)
    return [Body3D.about_hips(joints, none) for joints in fitted.joints()]


def _seen(track: Track) -> int:
    return int(np.isin(track.provenance, (DETECTED, REDETECTED)).sum())


def _announced(path: Path) -> int | None:
    """How many frames the film says that it has, if it does."""
    with suppress(av.FFmpegError), av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if stream.frames:
            return stream.frames
        if stream.duration and stream.average_rate:
            return round(float(stream.duration * stream.time_base * stream.average_rate))
    return None


def _triangles(backend: Backend) -> np.ndarray:
    return backend.faces if hasattr(backend, "faces") else bare_body().faces


def _limit_threads(workers: int) -> int:
    """How many threads each of so many processes may use: its share of the cores. Told to the libraries that have
    threads of their own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // workers)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def _name(settings: Settings) -> str:
    return f"{settings.backend} {BODIES[settings.backend]}"


def _device(settings: Settings) -> str:
    if settings.backend != "hmr2":
        return "cpu"
    from pose_factory.tracking.hmr2_pose import device

    return str(device(settings.tracking["hmr2"]["device"]))


def _failed(request: Request, status: int, sentence: str, stages: Stages) -> Answer:
    return Answer(status, answers.failure(request.frame_number, sentence), Stats(stages.seconds))


def _told(error: Exception) -> str:
    """An error of somebody else's code in one line."""
    first_line = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}{': ' if first_line else ''}{first_line}"
