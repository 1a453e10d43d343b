"""One session's person, live: followed, smoothed and given a body from image to image, with all that is remembered in
between as bytes that any process of the service can go on from: some 80 kB for each person who is followed."""

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import numpy as np

from pose_factory.fitting.fit import LiveFit
from pose_factory.service.answers import Body3D
from pose_factory.tracking import Backend
from pose_factory.tracking.people import DETECTED, REDETECTED, Pose
from pose_factory.tracking.session import Follower, Sighting
from pose_factory.tracking.smoothing import LiveSmoother


class LiveTracker:
    """The people of one sequence of images, one of whom is answered: whoever was seen in most of them, and from then on
    for as long as they have a pose."""

    def __init__(self, backend: Backend, settings: dict, size: tuple[int, int], fps: float) -> None:
        """`settings` is the config's `tracking` section, causal; `size` the images' width and height; `fps` their frame
        numbers a second."""
        self._backend, self._settings, self._size, self._fps = backend, settings, size, fps
        self._follower = Follower(backend, settings, size)
        self._smoothers: dict[int, LiveSmoother] = {}
        self._times_seen: dict[int, int] = {}
        self._main: int | None = None
        self._frame: int | None = None
        self._fit: LiveFit | None = None

    def step(self, frame: int, image: np.ndarray, found: Sequence[Pose]) -> Sighting | None:
        """The person in one more image, in which the backend detected `found`; None where nobody is known. `frame` is
        larger than the last one, and numbers left out are images that nobody could look at."""
        step = 1 if self._frame is None else frame - self._frame
        self._frame = frame
        sightings = {sighting.track_id: sighting for sighting in self._follower.step(frame, image, found)}
        for track_id in self._times_seen.keys() - self._follower.live:
            del self._times_seen[track_id]
            self._smoothers.pop(track_id, None)
        for track_id, sighting in sightings.items():
            seen = sighting.provenance in (DETECTED, REDETECTED)
            self._times_seen[track_id] = self._times_seen.get(track_id, 0) + seen
            sightings[track_id] = self._smoothed(sighting, step)
        if sightings and self._main not in sightings:
            self._main = max(sightings, key=lambda track_id: (self._times_seen[track_id], -track_id))
            self._fit = None
        return sightings.get(self._main)

    def body(self, sighting: Sighting) -> Body3D:
        """The body of the person that `step` has just returned."""
        pose = sighting.pose
        if hasattr(self._backend, "mesh"):  # the backend's poses are those of a body with a skin
            return Body3D(pose.joints, self._backend.mesh(pose.rotations, pose.shape), pose.translation)
        if self._fit is None:
            self._fit = LiveFit(self._backend.joints, self._fps, self._size)
        fitted = self._fit.step(pose, sighting.provenance, sighting.frame)
        return Body3D.about_hips(fitted.joints()[0], fitted.vertices()[0])

    def freeze(self) -> bytes:
        """All that is remembered, but for the backend and the settings."""
        buffer = io.BytesIO()
        _Pickler(buffer, self._shared(self._backend, self._settings)).dump(self)
        return buffer.getvalue()

    @classmethod
    def thaw(cls, frozen: bytes, backend: Backend, settings: dict) -> "LiveTracker":
        """The tracker that `freeze` gave, with these in the place of its own."""
        return _Unpickler(io.BytesIO(frozen), cls._shared(backend, settings)).load()

    def _smoothed(self, sighting: Sighting, step: int) -> Sighting:
        if self._settings["smoothing"]["filter"] == "none":
            return sighting
        smoother = self._smoothers.get(sighting.track_id)
        if smoother is None:
            smoother = self._smoothers[sighting.track_id] = LiveSmoother(self._fps, self._settings["smoothing"])
        pose = smoother.step(sighting.frame, sighting.pose, self._backend.assemble, self._size, step)
        return replace(sighting, pose=pose)

    @staticmethod
    def _shared(backend: Backend, settings: dict) -> dict[str, Any]:
        """What every process has already, by name."""
        return {
            "backend": backend,
            "predict_pose": backend.predict_pose,
            "settings": settings,
            "association": settings["association"],
        }


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, shared: dict[str, Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._names = {id(thing): name for name, thing in shared.items()}

    def persistent_id(self, thing: Any) -> str | None:
        return self._names.get(id(thing))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: dict[str, Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, name: str) -> Any:
        return self._shared[name]


class Turn(Enum):
    """What a frame is to the one before it in its session."""

    FIRST = auto()
    """The first of a new sequence."""
    NEXT = auto()
    """One that follows, perhaps after some that were left out."""
    REPEAT = auto()
    """The same frame again."""
    LATE = auto()
    """One that another frame has overtaken."""


@dataclass(frozen=True)
class Memory:
    """What a session remembers of the last frame that it kept."""

    number: int
    """The frame's number."""
    digest: bytes
    """Of the file that it was sent as."""
    size: tuple[int, int]
    """Its width and height."""
    before: bytes | None
    """The tracker before it, so that it can be answered again; None before the first of a sequence."""
    after: bytes
    """The tracker after it."""


def turn(memory: Memory | None, number: int, digest: bytes, size: tuple[int, int], named: bool, patience: int) -> Turn:
    """What the frame is to a session; `named` unless it is the default one, on which a step back starts a new sequence.
    So does, on any, a next frame of another size, and a gap of more than `patience` frames."""
    if memory is None:
        return Turn.FIRST
    if (number, digest) == (memory.number, memory.digest):
        return Turn.REPEAT
    if number == 0 or number > memory.number + 1 + patience:
        return Turn.FIRST
    if number <= memory.number and named:
        return Turn.LATE
    return Turn.NEXT if number > memory.number and size == memory.size else Turn.FIRST


def digest(file: bytes) -> bytes:
    """By which a file is known again."""
    return hashlib.blake2b(file, digest_size=16).digest()
