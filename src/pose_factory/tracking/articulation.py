"""Joint positions as rotations and bone lengths, and back: for backends that give positions only.

The torso has a full frame: y from the midpoint of the hips to that of the shoulders, x towards the person's left (the
mean of both widths, made perpendicular to y), z to the front. Every other bone has a swing, the smallest rotation that
takes its rest direction in its parent's frame to where it points. A swing jumps where a bone points opposite to its
rest direction, so rest directions are chosen such that no body goes there: arms sideways, legs down, elbows and knees
straight, feet forwards.
"""

from collections.abc import Sequence

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import JOINTS

COINCIDENT = 1e-12
"""Metres: what is shorter has no direction."""
HIPS, SHOULDERS = "hips", "shoulders"  # the midpoints
LEFT, UP, FRONT = np.eye(3)
_HALF_BONES = {  # joint: (where its bone starts, its rest direction in that one's frame), on the left
    "left_hip": (HIPS, LEFT),
    "left_knee": ("left_hip", -UP),
    "left_ankle": ("left_knee", -UP),
    "left_foot": ("left_ankle", FRONT),
    "left_shoulder": (SHOULDERS, LEFT),
    "left_elbow": ("left_shoulder", LEFT),
    "left_wrist": ("left_elbow", LEFT),
    "left_eye": ("nose", LEFT + UP),
    "left_ear": ("nose", LEFT - FRONT),
}
_MIDDLE_BONES = {
    "pelvis": (HIPS, UP),
    "spine": (HIPS, UP),
    "neck": (SHOULDERS, UP),
    "head_top": (SHOULDERS, UP),
    "nose": (SHOULDERS, UP + FRONT),
}
_BONES = _MIDDLE_BONES | {
    joint.replace("left", side): (start.replace("left", side), direction * [sign, 1, 1])
    for side, sign in {"left": 1, "right": -1}.items()
    for joint, (start, direction) in _HALF_BONES.items()
}
_ROOTED = (HIPS, SHOULDERS, "left_hip", "right_hip")
"""The bones that start at these hang on the torso's frame; the two hips turn with the torso."""


def decompose(joints: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (..., K, 3, 3) and lengths (..., S) in metres of `joints` (..., J, 3) called `names`, K = S = J + 1.

    The first rotation carries the torso's frame into the axes of `joints`, the first length is that of the torso; then
    one of each per bone, in the order of `bones`. `compose` undoes it up to the position of the hips. Joints that
    coincide give a length of at most COINCIDENT and, as their direction, the one at rest; a torso without length
    points up (against y, camera axes), one without width has its left as far as it can towards +x, or +z.

    Raises PoseFactoryError for names that lack a joint that another one hangs on, and for joints that are not finite.
    """
    order = bones(names)
    joints = np.asarray(joints, float)
    if not np.isfinite(joints).all():
        raise PoseFactoryError("A pose has joints that are not finite; leave it out and let it be filled.")
    at = {name: joints[..., index, :] for index, name in enumerate(names)}
    at[HIPS] = (at["left_hip"] + at["right_hip"]) / 2
    at[SHOULDERS] = (at["left_shoulder"] + at["right_shoulder"]) / 2
    width = at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"]
    torso, torso_length = _torso(at[SHOULDERS] - at[HIPS], width)
    frames = {HIPS: torso, SHOULDERS: torso}
    rotations, lengths = [torso], [torso_length]
    for name in order:
        start, rest = _BONES[name]
        rest = rest / np.linalg.norm(rest)
        frame = torso if start in _ROOTED else frames[start]
        vector = np.einsum("...ji,...j->...i", frame, at[name] - at[start])
        swing, length = _swing(rest, vector)
        frames[name] = frame @ swing
        rotations.append(swing)
        lengths.append(length)
    return np.stack(rotations, axis=-3), np.stack(lengths, axis=-1)


def compose(rotations: np.ndarray, lengths: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Joints (..., J, 3) in metres relative to the midpoint of the hips, from what `decompose` gives."""
    torso = rotations[..., 0, :, :]
    at = {HIPS: np.zeros(torso.shape[:-1]), SHOULDERS: lengths[..., :1] * torso[..., 1]}
    frames = {HIPS: torso, SHOULDERS: torso}
    for index, name in enumerate(bones(names), start=1):
        start, rest = _BONES[name]
        frame = torso if start in _ROOTED else frames[start]
        frames[name] = frame @ rotations[..., index, :, :]
        at[name] = at[start] + lengths[..., index, None] * (frames[name] @ (rest / np.linalg.norm(rest)))
    return np.stack([at[name] for name in names], axis=-2)


def bones(names: Sequence[str]) -> list[str]:
    """The joint at the end of each bone of a body with the joints `names`, parents first."""
    needed = {"left_hip", "right_hip", "left_shoulder", "right_shoulder"}
    needed |= {_BONES[name][0] for name in names if name in _BONES} - {HIPS, SHOULDERS}
    lacking = [name for name in JOINTS if name in needed - set(names)]
    unknown = [name for name in names if name not in _BONES]
    if lacking or unknown:
        fault = f"lacks {', '.join(lacking)}" if lacking else f"has the unknown {', '.join(unknown)}"
        raise PoseFactoryError(f"A skeleton to take apart {fault}; give it joints that hang together.")
    return [name for name in _BONES if name in names]


def _torso(up: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The torso's frame (..., 3, 3), axes as columns, and its length (...)."""
    length = np.linalg.norm(up, axis=-1)
    y = _unit_or(up, -UP)
    x = _across(width, y)
    for spare in (LEFT, FRONT):
        x = np.where(
            np.linalg.norm(x, axis=-1, keepdims=True) > COINCIDENT, x, _across(np.broadcast_to(spare, y.shape), y)
        )
    x = _unit_or(x, LEFT)
    x = _unit_or(_across(x, y), LEFT)  # again: what is left of y after the first time grows as a narrow x is scaled up
    return np.stack([x, y, np.cross(x, y)], axis=-1), length


def _swing(rest: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest rotation (..., 3, 3) from the unit vector `rest` (3,) to the direction of `vector`, and its length.

    It is two half-turns, about `rest` and about the direction midway: a proper rotation whatever the rounding.
    """
    length = np.linalg.norm(vector, axis=-1)
    direction = _unit_or(vector, rest)
    across = _across(direction, rest)
    sine = np.linalg.norm(across, axis=-1, keepdims=True)
    spare = np.broadcast_to(_across(np.eye(3)[np.argmin(np.abs(rest))], rest), across.shape)
    across = _unit_or(np.where(sine > COINCIDENT, across, spare), LEFT)
    across = _unit_or(_across(across, rest), LEFT)  # again: next to 180 degrees little was left, and that inexact
    half = np.arctan2(sine, (direction @ rest)[..., None]) / 2
    midway = np.cos(half) * rest + np.sin(half) * across
    half_turns = [2 * axis[..., :, None] * axis[..., None, :] - np.eye(3) for axis in (midway, rest)]
    return half_turns[0] @ half_turns[1], length


def _across(vector: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """What of `vector` is perpendicular to `unit`."""
    return vector - (vector * unit).sum(-1, keepdims=True) * unit


def _unit_or(vector: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """`vector` with length 1, or `spare` where it has none to speak of."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.where(length > COINCIDENT, vector / np.maximum(length, COINCIDENT), spare)
