"""What association knows of one person in one image."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from pose_factory.tracking import camera
from pose_factory.tracking.people import Pose

SMPL_ROTATIONS, SMPL_SHAPE = 24, 10
DEPTH_SCALE = 200.0
"""By which PHALP divides the depth in its pose vectors, so that all their numbers are of one size."""


@dataclass(frozen=True)
class Detection:
    """One person in one image; or several, with a leading axis in every field."""

    appearance: np.ndarray
    """(A,) how the person looks; a squared distance of 1000**2 counts as 1."""
    pose: np.ndarray
    """(P,) either PHALP's 229 numbers, which are 24 rotation matrices, 10 betas and (t_x, t_y, t_z / 200), or K
    rotation matrices."""
    points: np.ndarray
    """(J, 2) the joints in image units, the body's origin last: it is the one that is compared."""
    camera: np.ndarray
    """(3,) the body's origin in the camera's frame, metres: t_x, t_y and the depth n, which PHALP calls nearness."""


Item = TypeVar("Item", bound=Detection)


def stack(items: Sequence[Item]) -> Item:
    """One item with a leading axis, out of at least one of them."""
    first = type(items[0])
    return first(**{field.name: np.stack([getattr(item, field.name) for item in items]) for field in fields(first)})


def describe(pose: Pose, width: int, height: int) -> Detection:
    """A person found in an image of that size, as association compares it."""
    rotations = pose.rotations.ravel()
    vector = rotations
    if len(pose.rotations) == SMPL_ROTATIONS and len(pose.shape) == SMPL_SHAPE:
        vector = np.concatenate([rotations, pose.shape, pose.translation / [1, 1, DEPTH_SCALE]])
    origin = camera.project(np.zeros((1, 3)), pose.translation, width, height)
    points = image_units(np.concatenate([pose.pixels, origin]), width, height)
    return Detection(pose.appearance, vector, points, pose.translation)


def image_units(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Where pixels (..., 2) are in the square around the image's middle that its longer side spans: 0 to 1.

    There PHALP's focal length of 5000 for 256 pixels is that of `tracking.camera`, so that a translation found with
    it is PHALP's camera vector (t_x, t_y, n) as it stands: x = 1/2 + 5000/256 * t_x / n.
    """
    return (pixels - np.array([width / 2, height / 2])) / max(width, height) + 0.5
