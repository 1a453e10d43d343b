"""Following people through footage, losing no frame: detect, associate, and fill what was missed.

One `Follower` takes a sequence's images in order. In `causal` mode, for live use, it answers each image at once, from
the past alone; in `batch` mode `follow` fills the gaps afterwards, from both sides. Either way a person who was missed
is first looked for in the real image where they must be, then placed by their motion.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from pose_factory.association.associator import Associator
from pose_factory.association.detection import describe
from pose_factory.association.linking import link
from pose_factory.footage import Footage
from pose_factory.tracking import Backend, filling, people
from pose_factory.tracking.people import (
    DETECTED,
    INTERPOLATED,
    PREDICTED,
    REDETECTED,
    Pose,
    Track,
    overlap,
    same_person,
)

CHUNK, PROGRESS = 16, 320
"""So many images are in memory at once; so many frames later the log says how far it is."""
MEMORY = 16
"""In causal mode, the motion model knows a person's last so many sure sightings."""
LONGER = 2
"""So many times the association's patience may somebody be out of sight and still be joined, in batch mode."""
LEAST_OVERLAP = 0.3
"""A person found where it was looked for overlaps the box that was looked at by no less (IoU)."""
NOBODY, UNMATCHED = "nobody was detected", "no detection was this person"
BEFORE, AFTER = "before the first sight", "after the last sight"
"""Why a person was missed in a frame."""

Item = TypeVar("Item")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """One person in one frame."""

    track_id: int
    frame: int
    pose: Pose
    provenance: str
    sure: bool
    """Whether this person was seen often enough, so far, to be one."""


@dataclass(frozen=True)
class Followed:
    """What became of a sequence."""

    frames: list[int]
    """All of its frame numbers."""
    tracks: dict[int, Track]
    """Everybody in it, by track id."""
    reasons: dict[int, dict[int, str]]
    """Why the backend did not detect them, by track id and frame, for all other frames that the track has."""


class Follower:
    """The people of one sequence, of which it is told image by image. It remembers no more of them than the motion
    model needs."""

    def __init__(self, backend: Backend, settings: dict, size: tuple[int, int]) -> None:
        """`settings` is the config's `tracking` section, `size` the images' width and height."""
        self._backend, self._settings, self._size = backend, settings, size
        self._associator = Associator(settings["association"], backend.predict_pose)
        self._seen: dict[int, deque[tuple[int, Pose]]] = {}
        self._last: int | None = None

    @property
    def live(self) -> set[int]:
        """The ids of those who are not given up."""
        return set(self._seen)

    def step(self, frame: int, image: np.ndarray, found: Sequence[Pose]) -> list[Sighting]:
        """Everybody in one more image, in which the backend detected `found`. Who was missed is looked for and, if
        need be, predicted in causal mode, and left out in batch mode.

        `frame` is larger than the last one. Numbers left out between them are images that nobody could look at: time
        passes, and whoever counts is missed in them.
        """
        skipped = 0 if self._last is None else frame - self._last - 1
        died = [track_id for _ in range(skipped) for track_id in self._associator.skip()]
        step = self._associator.step(frame, [describe(pose, *self._size) for pose in found])
        for track_id in died + step.died:
            del self._seen[track_id]
        self._last = frame
        sightings, missed = [], []
        for live in step.live:
            if live.detection is None:
                missed.append(live.track_id)
            else:
                pose = found[live.detection]
                self._remember(live.track_id, frame, pose)
                sightings.append(Sighting(live.track_id, frame, pose, DETECTED, live.confirmed))
        if self._settings["mode"] == "causal":
            for track_id in missed:
                if sighting := self._recover(track_id, frame, image, [s.pose for s in sightings]):
                    sightings.append(sighting)
        return sorted(sightings, key=lambda sighting: sighting.track_id)

    def _remember(self, track_id: int, frame: int, pose: Pose) -> None:
        self._seen.setdefault(track_id, deque(maxlen=MEMORY)).append((frame, pose))

    def _recover(self, track_id: int, frame: int, image: np.ndarray, others: list[Pose]) -> Sighting | None:
        """Only a confirmed track outlives a miss, so whoever is recovered is sure."""
        fill = self._settings["fill"]
        past = people.stack(*zip(*self._seen[track_id], strict=True), DETECTED)
        for way in fill["order"]:
            if way == REDETECTED:
                box = filling.interpolate_boxes(past, [frame])[0]
                pose = self._backend.look([image], [box], fill["redetection_confidence"])[0]
                if pose and _is_believable(pose, box, others):
                    self._associator.found_after_all(track_id, describe(pose, *self._size))
                    self._remember(track_id, frame, pose)
                    return Sighting(track_id, frame, pose, REDETECTED, True)
            elif way == PREDICTED and _within(frame - past.frames[-1], fill["predicted_limit"]):
                pose = filling.predict(past, [frame], self._backend.assemble, self._size).pose(0)
                if not any(same_person(pose, other) for other in others):
                    return Sighting(track_id, frame, pose, PREDICTED, True)
        return None


def follow(footage: Footage, backend: Backend, settings: dict) -> Followed:
    """Follow everybody through `footage`; `settings` is the config's `tracking` section, whose frames are images.

    In batch mode, who was never sure is left out, unless the film is too short for anybody to be; and the person who is
    detected most often has a pose in every frame of the footage where the fill's `order` allows it and nobody else
    stands there: the limits are for the others, who may come and go. In causal mode everybody is told of at once.
    """
    follower = Follower(backend, settings, footage.size)
    seen: dict[int, list[Sighting]] = {}
    found_in: list[int] = []
    frames: list[int] = []
    for chunk in _chunks(footage):
        for (frame, image), found in zip(chunk, backend.detect([image for _, image in chunk]), strict=True):
            # Images are counted here, whatever their frame numbers: every n-th frame of a motion may have been filmed.
            for sighting in follower.step(len(frames), image, found):
                seen.setdefault(sighting.track_id, []).append(sighting)
            frames.append(frame)
            found_in.append(len(found))
        if len(frames) % PROGRESS == 0:
            log.info("%d frames", len(frames))
    batch, association = settings["mode"] == "batch", settings["association"]
    if batch and len(frames) >= association["n_init"]:
        seen = {i: sightings for i, sightings in seen.items() if any(sighting.sure for sighting in sightings)}
    tracks = {track_id: _track(sightings) for track_id, sightings in sorted(seen.items())}
    if batch:
        step = float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0
        tracks = _joined(tracks, link(tracks, footage.fps / step, LONGER * association["max_age"]))
    detected = {track_id: track.frames[track.provenance == DETECTED] for track_id, track in tracks.items()}
    if batch:
        tracks = _fill(footage, len(frames), tracks, backend, settings["fill"])
    reasons = {i: _reasons(track, detected[i], found_in, frames) for i, track in tracks.items()}
    numbers = np.array(frames, dtype=int)
    tracks = {i: replace(track, frames=numbers[track.frames]) for i, track in tracks.items()}
    for track_id, missed in reasons.items():
        words = dict(zip(tracks[track_id].frames.tolist(), tracks[track_id].provenance, strict=True))
        for frame, reason in missed.items():
            log.info("Frame %d, track %d: %s; %s.", frame, track_id, reason, words[frame])
    return Followed(frames, tracks, reasons)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    left = iter(items)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def _track(sightings: Sequence[Sighting]) -> Track:
    return people.stack([s.frame for s in sightings], [s.pose for s in sightings], [s.provenance for s in sightings])


def _joined(tracks: dict[int, Track], carries_on: Mapping[int, int]) -> dict[int, Track]:
    """The tracks, with each that carries on an earlier one made a part of it."""
    whole: dict[int, list[Track]] = {}
    for track_id, track in tracks.items():
        first = track_id
        while first in carries_on:
            first = carries_on[first]
        whole.setdefault(first, []).append(track)
    return {track_id: people.merge(*parts) for track_id, parts in sorted(whole.items())}


def _fill(footage: Footage, count: int, tracks: dict[int, Track], backend: Backend, fill: dict) -> dict[int, Track]:
    """The tracks with those of the footage's `count` images that they lack, in the ways that `fill` orders, one after
    the other."""
    if not tracks:
        return tracks
    most_seen = max(tracks, key=lambda track_id: len(tracks[track_id]))
    for way in fill["order"]:
        missing = {}
        for track_id, track in tracks.items():
            limits = (None, None) if track_id == most_seen else (fill["interpolated_limit"], fill["predicted_limit"])
            missing[track_id] = filling.missing(track, range(count), *limits)
        if way == REDETECTED:
            tracks = _look_again(footage, tracks, missing, backend, fill["redetection_confidence"])
            continue
        place = {INTERPOLATED: filling.interpolate, PREDICTED: filling.predict}[way]
        for track_id, track in tracks.items():
            sure = track[np.isin(track.provenance, (DETECTED, REDETECTED))]
            inside = (missing[track_id] > sure.frames[0]) & (missing[track_id] < sure.frames[-1])
            wanted = missing[track_id][inside == (way == INTERPOLATED)]
            if len(wanted):
                placed = place(sure, wanted, backend.assemble, footage.size)
                tracks[track_id] = people.merge(track, _without_doubles(placed, track_id, tracks))
    return tracks


def _look_again(
    footage: Footage, tracks: dict[int, Track], missing: dict[int, np.ndarray], backend: Backend, threshold: float
) -> dict[int, Track]:
    """The tracks with whoever is found in the real images where they must be."""
    boxes: dict[int, list[tuple[int, np.ndarray]]] = {}
    for track_id, track in tracks.items():
        for frame, box in zip(missing[track_id], filling.interpolate_boxes(track, missing[track_id]), strict=True):
            boxes.setdefault(int(frame), []).append((track_id, box))
    if not boxes:
        return tracks
    there = _poses_by_frame(tracks)
    found: dict[int, list[tuple[int, Pose]]] = {}
    needed = enumerate(image for _, image in islice(footage, max(boxes) + 1))
    asked = ((index, image, *ask) for index, image in needed for ask in boxes.get(index, []))
    for chunk in _chunks(asked):
        _, images, _, where = zip(*chunk, strict=True)
        for (frame, _, track_id, box), pose in zip(chunk, backend.look(images, where, threshold), strict=True):
            if pose and _is_believable(pose, box, there.setdefault(frame, [])):
                there[frame].append(pose)
                found.setdefault(track_id, []).append((frame, pose))
    again = {i: people.stack(*zip(*sightings, strict=True), REDETECTED) for i, sightings in found.items()}
    return {i: people.merge(track, again[i]) if i in again else track for i, track in tracks.items()}


def _without_doubles(placed: Track, track_id: int, tracks: dict[int, Track]) -> Track:
    """The frames of `placed` in which nobody else was seen right there: that would be the same person, counted
    twice."""
    others = {i: track[np.isin(track.provenance, (DETECTED, REDETECTED))] for i, track in tracks.items()}
    there = _poses_by_frame({i: track for i, track in others.items() if i != track_id})
    free = [
        not any(same_person(placed.pose(row), other) for other in there.get(int(frame), []))
        for row, frame in enumerate(placed.frames)
    ]
    return placed[np.array(free)]


def _poses_by_frame(tracks: dict[int, Track]) -> dict[int, list[Pose]]:
    poses: dict[int, list[Pose]] = {}
    for track in tracks.values():
        for row, frame in enumerate(track.frames):
            poses.setdefault(int(frame), []).append(track.pose(row))
    return poses


def _is_believable(pose: Pose, box: np.ndarray, others: Iterable[Pose]) -> bool:
    """Whether a pose found in `box` is who was looked for there, and not one of the others."""
    return overlap(pose.box, box) >= LEAST_OVERLAP and not any(same_person(pose, other) for other in others)


def _within(gap: int, limit: int | None) -> bool:
    return limit is None or gap <= limit


def _reasons(track: Track, detected: np.ndarray, found_in: Sequence[int], frames: Sequence[int]) -> dict[int, str]:
    """By frame number, from a track and detections that count images."""
    reasons = {}
    for image in track.frames[track.provenance != DETECTED]:
        if image < detected[0]:
            reason = BEFORE
        elif image > detected[-1]:
            reason = AFTER
        else:
            reason = UNMATCHED if found_in[image] else NOBODY
        reasons[frames[image]] = reason
    return reasons
