"""Trackers: images of people in, the table `tracks` out. A backend is one module with a `Tracker` class, named in
BACKENDS.

A Tracker is made from the config's `tracking` section and has

    joints: list[str]
    track(images: Iterable[tuple[int, ndarray]], fps: float) -> DataFrame

`joints` are the canonical joints that it gives for a person it finds, in canonical order: tracks.parquet's metadata
holds them, since a table in which nobody was found does not tell. `images` yields (frame number, (H, W, 3) uint8 RGB)
in order, one at a time, so that a long video needs no more memory than a short one; the table has the columns of
COLUMNS (docs/tables.md), sorted by frame, track and canonical joint.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol

import numpy as np
import pandas as pd

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
BACKENDS = {"mediapipe": "pose_factory.tracking.mediapipe_pose"}


class Tracker(Protocol):
    """What every backend offers."""

    joints: list[str]

    def track(self, images: Iterable[tuple[int, np.ndarray]], fps: float) -> pd.DataFrame:
        """The table of tracks for `images`, filmed at `fps` frame numbers a second."""


def make_tracker(settings: dict) -> Tracker:
    """The tracker that the config's `tracking` section names."""
    return import_module(BACKENDS[settings["backend"]]).Tracker(settings)


def table(rows: list[tuple]) -> pd.DataFrame:
    """Rows in the order of COLUMNS as a table with its types, also when there are none."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
