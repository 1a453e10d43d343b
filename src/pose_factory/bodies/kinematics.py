"""A body's motion: local bone rotations and root positions per frame, and where they put the bones.

A bone's rotation is always the one that carries its rest orientation to its posed one, in world axes (Blender's: Z up,
the body faces -Y, its left at +X), unless it says that it is in the bone's own axes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory.bodies.anny_body import Body


@dataclass(frozen=True)
class Motion:
    """N frames of a body: rotations (N, B, 4) quaternions w, x, y, z, each relative to the bone's own rest axes (what
    Blender calls a pose bone's rotation_quaternion), continuous in time; root (N, 3) the root bone's head, metres,
    world; planted {side: (N,) whether the foot carries weight}."""

    rotations: np.ndarray
    root: np.ndarray
    planted: dict[str, np.ndarray]


def forward_kinematics(body: Body, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Each bone's rotation from its rest orientation (N, B, 3, 3), world axes, and its head (N, B, 3), metres."""
    frames, bones = motion.rotations.shape[:2]
    local = Rotation.from_quat(motion.rotations[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix()
    local = local.reshape(frames, bones, 3, 3)
    rotations, heads = np.empty((frames, bones, 3, 3)), np.empty((frames, bones, 3))
    for bone, parent in enumerate(body.parents):
        rest = body.orientations[bone]
        rotations[:, bone] = rest @ local[:, bone] @ rest.T
        heads[:, bone] = motion.root
        if parent >= 0:
            rotations[:, bone] = rotations[:, parent] @ rotations[:, bone]
            heads[:, bone] = heads[:, parent] + rotations[:, parent] @ (body.heads[bone] - body.heads[parent])
    return rotations, heads


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (N, B, 4) with each bone's sign chosen to be nearest to the frame before."""
    dots = np.sum(quaternions[1:] * quaternions[:-1], axis=-1)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs[..., None]])


def cycles(frames: int, fps: float, natural: float) -> np.ndarray:
    """(N,) cycles since the first frame. The period is `natural` seconds, adjusted so that the frames hold whole cycles
    if that changes it by a third at most."""
    time = np.arange(frames) / fps
    duration = frames / fps
    cycles = max(round(duration / natural), 1)
    period = duration / cycles
    return time / (period if 0.75 <= period / natural <= 4 / 3 else natural)


def leg_length(body: Body) -> float:
    return length(body, "LeftUpLeg", "LeftLeg") + length(body, "LeftLeg", "LeftFoot")


def length(body: Body, first: str, second: str) -> float:
    return float(np.linalg.norm(body.heads[body.bone(second)] - body.heads[body.bone(first)]))


def euler(pitch=0.0, roll=0.0, yaw=0.0) -> np.ndarray:
    """Rotations (N, 3, 3), or (3, 3) for numbers, in degrees: pitch leans forward, roll to the left (+X), yaw turns to
    the left; pitch first."""
    angles = np.stack(np.broadcast_arrays(pitch, roll, yaw), axis=-1)
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def axes(direction: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """(N, 3, 3) orthonormal axes as columns: the hinge made perpendicular, the direction, and their product."""
    y = unit(direction)
    x = unit(hinge - np.sum(hinge * y, axis=-1, keepdims=True) * y)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Rotations `share` of the way from `start` to `end` (N, 3, 3), along the shortest arc."""
    turn = Rotation.from_matrix(end @ start.transpose(0, 2, 1)).as_rotvec()
    return Rotation.from_rotvec(share * turn).as_matrix() @ start


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
