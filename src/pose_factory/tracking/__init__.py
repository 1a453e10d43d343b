"""Trackers: footage of people in, tables of poses out.

A backend is one module with a class `Backend`, named in BACKENDS: it finds people in single images. Following them from
image to image and filling what it misses is `session`'s, the same for all of them.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from pose_factory.association.forecast import PosePredictor
    from pose_factory.tracking.people import Pose

COLUMNS = {
    "frame": "int32",
    "track_id": "int32",
    "joint": "str",
    "u": "float64",
    "v": "float64",
    "x": "float64",
    "y": "float64",
    "z": "float64",
    "confidence": "float64",
    "provenance": "str",
}
"""Of tracks.parquet (docs/tables.md)."""
BACKENDS = {
    "mediapipe": "pose_factory.tracking.mediapipe_pose",
    "hmr2": "pose_factory.tracking.hmr2_pose",
}


class Backend(Protocol):
    """Made from the config's `tracking` section; remembers nothing from one image to the next. Images are (H, W, 3)
    uint8 RGB."""

    joints: list[str]
    """The canonical joints that it gives for everybody it finds, in canonical order: J."""
    parametrisation: str
    """What a pose's `rotations` and `shape` are, in words."""
    predict_pose: "PosePredictor"
    """How its poses go on, for the association."""

    def detect(self, images: Sequence[np.ndarray]) -> "list[list[Pose]]":
        """Everybody in each image, the surest first."""

    def look(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], threshold: float) -> "list[Pose | None]":
        """The person about whom each box (4,) is drawn, in each image, whether or not a detector would see one there;
        None where the backend gives it less than `threshold`, 0 to 1."""

    def assemble(self, rotations: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """Joints (..., J, 3), metres, camera axes, relative to the midpoint of the hips, of a pose's rotations
        (..., K, 3, 3) and shape (..., S)."""


def make_backend(settings: dict, threads: int) -> Backend:
    """The backend that the config's `tracking` section names, which may use so many threads of the CPU."""
    return import_module(BACKENDS[settings["backend"]]).Backend(settings, threads)
