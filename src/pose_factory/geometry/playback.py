"""Several motions in one scene: when each of their frames shows, and where on the floor each person is meanwhile."""

import math
from dataclasses import dataclass

import numpy as np

from pose_factory.skeleton import INDEX

SEAM = 1.5
"""A motion starts over if the step from its last pose to its first is at most this many times the steps beside it."""
SAME = 0.25
"""Below this many times of them, the last pose is the first one once more."""
STILL = 1e-4
"""Metres: a step that counts as none."""


@dataclass(frozen=True)
class Cycle:
    """A motion that leads back to its own beginning: after `period` frames it shows its first pose again, (3,) `travel`
    metres further along the floor."""

    period: int
    travel: np.ndarray


@dataclass(frozen=True)
class Playback:
    """What shows of a motion in each of a scene's L frames: its own `frame` (L,), counted from 0 and not always whole;
    how far (L,) the pose is from there on its way to the first one, 0 to 1 (only beyond the last frame); and how many
    times (L,) it has begun anew, that fraction included."""

    frame: np.ndarray
    closing: np.ndarray
    turns: np.ndarray


def on_floor(joints) -> np.ndarray:
    """(..., 3) the midpoint of the hips of canonical `joints` (..., J, 3), metres, dropped to z = 0."""
    return (joints[..., INDEX["left_hip"], :] + joints[..., INDEX["right_hip"], :]) / 2 * [1, 1, 0]


def find_cycle(ends, count: int) -> Cycle | None:
    """The cycle of a motion of `count` frames; None if its end does not lead back to its beginning, wherever on the
    floor that is. `ends` (4, J, 3) are the canonical joints in its first two and its last two frames, metres."""
    if count < 3:
        return None
    place = on_floor(ends)
    pose = ends - place[:, None]
    beside = max(_step(pose[0], pose[1]), _step(pose[2], pose[3]), STILL)
    seam = _step(pose[3], pose[0])
    if seam > SEAM * beside:
        return None
    travel = place[3] - place[0]
    return Cycle(count - 1, travel) if seam <= SAME * beside else Cycle(count, travel * count / (count - 1))


def play(count: int, rate: float, length: int, cycle: Cycle | None) -> Playback:
    """How a motion of `count` frames plays in a scene of `length` frames, each of which lasts `rate` frames of its own.

    Where the scene is longer, the motion begins anew, or without a `cycle` holds its last pose.
    """
    frame = np.arange(length) * rate
    if cycle is None:
        return Playback(np.minimum(frame, count - 1), np.zeros(length), np.zeros(length))
    turns, frame = np.divmod(frame, cycle.period)
    closing = np.maximum(frame - (count - 1), 0)
    return Playback(np.minimum(frame, count - 1), closing, turns + closing)


def heading(start, end) -> float:
    """Degrees, counter-clockwise seen from above and 0 along -Y, from one place on the floor (2,) to another; 0 where
    they are the same."""
    x, y = np.subtract(end, start)
    return math.degrees(math.atan2(x, -y)) if x or y else 0.0


def root_path(first, last, ahead, facing: float, start, end) -> np.ndarray:
    """(L, 3) where to put the origin of a motion, metres, once it is turned by `facing` degrees about Z.

    In its own axes the motion has the person on the floor at `first` (3,) and, L - 1 frames later, at `last` (3,); each
    time it begins anew, it has to be put further along, `ahead` (L, 3) metres in all. In the scene the person is at
    `start` (2,) in the first frame and at `end` (2,) in the last; without `end`, where the motion takes them. What the
    two ways differ by is spread evenly over time.
    """
    cos, sin = np.cos(np.radians(facing)), np.sin(np.radians(facing))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    path = np.array([*start, 0.0]) + (ahead - first) @ turn.T
    if end is None:
        return path
    missing = np.array([*end, 0.0]) - (path[-1] + turn @ last)
    return path + np.linspace(0, 1, len(path))[:, None] * missing


def _step(one, other) -> float:
    """The largest distance that a joint goes between two poses (J, 3)."""
    return float(np.nanmax(np.linalg.norm(other - one, axis=-1)))
