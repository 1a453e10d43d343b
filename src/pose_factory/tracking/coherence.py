"""How steadily a track moves, and where it moves as no body can."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.tracking.people import Track

JOINT_SPEED = 5.0
"""Metres per second, relative to the hips: most of what people do is slower; a fast wrist is judged by its track."""
ROOT_SPEED = 4.0
"""Of the body's size in the image per second: faster than running across it."""
TURN_SPEED = 1500.0
"""Degrees per second of the torso: faster than a pirouette."""
OUTLYING = 8.0
"""Robust standard deviations (1.4826 times the median absolute deviation) above a track's median that are too many."""


@dataclass(frozen=True)
class Break:
    """Motion into `frame`, from the track's frame before, that is implausible."""

    frame: int
    kind: str
    """joint: one leaps, relative to the hips; root: the whole body leaps in the image; turn: the torso flips."""
    size: float
    """Its speed: metres per second, body sizes per second, or degrees per second."""
    confidence: float
    """0 to 1, how sure it is that this is a break: 1 - limit / size."""


def acceleration(joints: np.ndarray, frames: np.ndarray, fps: float) -> float:
    """Mean magnitude of the joints' acceleration, m/s^2: second differences of `joints` (N, J, 3), metres.

    `frames` (N,) are increasing frame numbers, `fps` of them a second. Differences count where the frames lie the
    smallest distance apart that two of them have. NaN where there are none.
    """
    return _derivative(joints, frames, fps, 2)


def jitter(joints: np.ndarray, frames: np.ndarray, fps: float) -> float:
    """Mean magnitude of the joints' jerk, m/s^3: third differences, as Flash & Hogan (1985) judge how smooth a motion
    is and Yi et al. (2022, 'Physical Inertial Poser') report as jitter. Otherwise like `acceleration`."""
    return _derivative(joints, frames, fps, 3)


def breaks(track: Track, fps: float) -> list[Break]:
    """Where the motion is implausible, by frame; at most one of each kind in a frame, the largest.

    A speed is implausible above the limit of its kind (JOINT_SPEED, ROOT_SPEED, TURN_SPEED) or, if that is higher,
    above what is usual in the track itself (see OUTLYING): for each joint apart.
    """
    if len(track) < 2:
        return []
    seconds = np.diff(track.frames) / fps
    joint = np.linalg.norm(np.diff(track.joints, axis=0), axis=-1) / seconds[:, None]
    middle = (track.box[:, :2] + track.box[:, 2:]) / 2
    body = (track.box[:, 2:] - track.box[:, :2]).max(axis=1)
    root = np.linalg.norm(np.diff(middle, axis=0), axis=-1) / np.maximum(body[1:], body[:-1]) / seconds
    torso = Rotation.from_matrix(track.rotations[:, 0])
    turn = np.degrees((torso[:-1].inv() * torso[1:]).magnitude()) / seconds
    found = []
    for kind, speeds, floor in (
        ("joint", joint, JOINT_SPEED),
        ("root", root[:, None], ROOT_SPEED),
        ("turn", turn[:, None], TURN_SPEED),
    ):
        median = np.median(speeds, axis=0)
        limit = np.maximum(floor, median + OUTLYING * 1.4826 * np.median(np.abs(speeds - median), axis=0))
        excess = 1 - limit / np.maximum(speeds, 1e-12)
        worst = excess.argmax(axis=1)
        for row in np.flatnonzero(excess.max(axis=1) > 0):
            size, confidence = float(speeds[row, worst[row]]), float(excess[row, worst[row]])
            found.append(Break(int(track.frames[row + 1]), kind, size, confidence))
    return sorted(found, key=lambda found: found.frame)


def _derivative(joints: np.ndarray, frames: np.ndarray, fps: float, order: int) -> float:
    if len(frames) <= order:
        return float("nan")
    steps = np.diff(frames)
    even = np.lib.stride_tricks.sliding_window_view(steps == steps.min(), order).all(axis=1)
    sizes = np.linalg.norm(np.diff(joints, n=order, axis=0)[even], axis=-1) * (fps / steps.min()) ** order
    return float(sizes.mean()) if even.any() else float("nan")
