"""Rig bias: the constant offset, per joint, between a rig's bone heads and what the tracker calls that joint.

A rig's "shoulder" is where its upper-arm bone starts, a tracker's is what its annotators clicked on. That offset
turns with the body, so it lives in the body's frame: x from the right hip to the left, y backwards, z from pelvis to
neck. It is measured from pixels, because a tracker's lifted depth and scale are errors and no matter of the rig. One
view of a body that hardly turns leaves the offset along the line of sight at zero; all views of a character show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX

FRAME = "body: x right hip to left hip, y backwards, z pelvis to neck; tracker minus rig"
MIN_FRAMES = 10
UNSEEN = 0.3  # an axis whose singular value is below this fraction of the best seen one's counts as not seen
RESIDUAL_FLOOR = 1e-4  # metres; below it a residual's weight no longer grows

View = tuple[np.ndarray, np.ndarray, Camera]


@dataclass(frozen=True)
class RigBias:
    """Per joint: `offset` (J, 3) metres in the body's frame, tracker minus rig; `spread` (J,) the median absolute
    residual across the line of sight, metres; `count` (J,) frames seen. Joints seen in too few frames are NaN."""

    offset: np.ndarray
    spread: np.ndarray
    count: np.ndarray


def body_frames(world) -> np.ndarray:
    """(F, 3, 3) rotations from the body's frame to the world's, from canonical `world` joints (F, J, 3).

    The columns are the body's axes in the world; a person standing upright who faces -Y has the identity. NaN where
    hips, pelvis or neck are not annotated.
    """
    x = _unit(world[:, INDEX["left_hip"]] - world[:, INDEX["right_hip"]])
    up = world[:, INDEX["neck"]] - world[:, INDEX["pelvis"]]
    z = _unit(up - (up * x).sum(-1, keepdims=True) * x)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def estimate(views: Sequence[View], min_frames: int = MIN_FRAMES) -> RigBias:
    """The rig bias over all frames of `views`: (tracked pixels (F, J, 2), ground truth (F, J, 3) metres in the world,
    camera) each, with NaN for what is missing.

    Each joint's offset is the one with the least sum of absolute residuals, the median's counterpart for observations
    that each show two of three axes, so that a minority of lost frames does not move it.
    """
    equations = [_equations(*view) for view in views]
    rows, values = (np.concatenate(blocks) for blocks in zip(*equations, strict=True))
    usable = np.isfinite(values).all(-1) & np.isfinite(rows).all((-1, -2))
    count = usable.sum(0)
    offset, spread = np.full((len(count), 3), np.nan), np.full(len(count), np.nan)
    for joint in np.flatnonzero(count >= min_frames):
        row, value = rows[usable[:, joint], joint].reshape(-1, 3), values[usable[:, joint], joint].ravel()
        offset[joint] = _least_absolute(row, value)
        spread[joint] = np.median(abs(row @ offset[joint] - value))
    return RigBias(offset, spread, count)


def apply(world, bias: RigBias) -> np.ndarray:
    """`world` ground truth (F, J, 3) moved to where the tracker would put it; NaN for joints without an estimate."""
    return world + np.einsum("fab,jb->fja", body_frames(world), bias.offset)


def _equations(pixels, world, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Rows (F, J, 2, 3) and values (F, J, 2), in metres, of the linear equations for the offsets.

    A pixel's ray (a, b, 1) passes through a point p in camera axes where (a, b) * p_z = (p_x, p_y).
    """
    rays = (pixels - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T
    point = camera.to_camera(world)
    rows = (rays[..., None] * camera.R[2] - camera.R[:2]) @ body_frames(world)[:, None]
    return rows, point[..., :2] - rays * point[..., 2:]


def _least_absolute(row, value) -> np.ndarray:
    """(3,) the x of least sum |row @ x - value| along the axes `row` sees, by iteratively reweighted least squares."""
    _, singular, axes = np.linalg.svd(row, full_matrices=False)
    seen = axes[singular > UNSEEN * singular[0]].T
    weight = np.ones(len(value))
    for _ in range(30):
        solution = np.linalg.lstsq(row @ seen * weight[:, None], value * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(abs(row @ seen @ solution - value), RESIDUAL_FLOOR))
    return seen @ solution


def _unit(vectors) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, np.nan)
