"""Tracks of several views of one scene: one fused person out of each person's tracks, and tracks repaired with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.correspondence import same_people
from pose_factory.geometry.fusion import MIRROR, Fused, fuse
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking import COLUMNS

FUSED = "fused"
"""The provenance of what a view takes over from all views together."""
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
VALUES = ["u", "v", "x", "y", "z", "confidence"]
FUSED_COLUMNS = {
    "frame": "int32",
    "person": "int32",
    "joint": "str",
    "x": "float64",
    "y": "float64",
    "z": "float64",
    "views": "int32",
    "residual_px": "float64",
    "confidence": "float64",
}


@dataclass(frozen=True)
class Person:
    """Somebody in V views over F frames: `track_ids` per view, the longest track first; `tracked` (V, F, J, 6) what
    these tracks say, VALUES, NaN where they say nothing; `fused` what all views together say."""

    track_ids: list[list[int]]
    tracked: np.ndarray
    fused: Fused


def fuse_views(
    tracks: Sequence[pd.DataFrame], cameras: Sequence[Camera], frames: np.ndarray, alone: bool, settings: Mapping
) -> list[Person]:
    """The people in a scene filmed by `cameras`, from the table of tracks of each, over all `frames` (F,), increasing.

    With `alone` there is one person, who has the longest track of each view and what others there are in other frames;
    otherwise tracks are matched between the views. `settings` is the config's `fusion` section. Of one view nothing can
    be fused: the points are NaN. Raises PoseFactoryError for tracks of other frames.
    """
    strange = set().union(*(table.frame for table in tracks)) - set(frames)
    if strange:
        raise PoseFactoryError(f"The tracks have frame {min(strange)}, which the ground truth lacks; make both again.")
    ids = [
        list(table.groupby("track_id").frame.nunique().sort_values(ascending=False, kind="stable").index)
        for table in tracks
    ]
    dense = [
        np.array([_dense(table[table.track_id == each], frames) for each in of_view]).reshape(
            len(of_view), *_shape(frames)
        )
        for table, of_view in zip(tracks, ids, strict=True)
    ]
    if alone:
        people = [[_in_turn(block) for block in dense]] if any(ids) else []
    else:
        sizes = [np.array([_size(track[..., :2]) for track in block]) for block in dense]
        people = same_people([block[..., :2] for block in dense], sizes, cameras)
    found = []
    for chosen in people:
        tracked = np.array([_joined(block[of_view]) for block, of_view in zip(dense, chosen, strict=True)])
        limit = settings["outlier_limit"] * np.array([_size(view[..., :2]) for view in tracked])[:, None]
        fused = fuse(tracked[..., :2], tracked[..., 5], cameras, limit, settings["min_views"])
        track_ids = [[int(of_view[index]) for index in picked] for of_view, picked in zip(ids, chosen, strict=True)]
        found.append(Person(track_ids, tracked, fused))
    return found


def _in_turn(tracks: np.ndarray) -> list[int]:
    """Of tracks (T, F, J, 6), the longest first, those that can be one person's: no two in the same frame."""
    taken, chosen = np.zeros(tracks.shape[1], bool), []
    for index, track in enumerate(tracks):
        there = np.isfinite(track).all(-1).any(-1)
        if not (there & taken).any():
            chosen.append(index)
            taken |= there
    return chosen


def fused_table(people: Sequence[Person], frames: np.ndarray) -> pd.DataFrame:
    """The content of fused.parquet: a row for each frame, person and joint that was fused."""
    parts = []
    for index, person in enumerate(people):
        fused = person.fused
        row, joint = np.nonzero(np.isfinite(fused.points).all(-1))
        position = dict(zip("xyz", fused.points[row, joint].T, strict=True))
        views, residual = fused.agreed.sum(0)[row, joint], fused.residual[row, joint]
        measured = {"views": views, "residual_px": residual, "confidence": fused.confidence[row, joint]}
        named = {"frame": frames[row], "person": index, "joint": np.array(JOINTS, object)[joint]}
        parts.append(pd.DataFrame({**named, **position, **measured}))
    table = pd.concat(parts) if parts else pd.DataFrame(columns=list(FUSED_COLUMNS))
    return table.astype(FUSED_COLUMNS).sort_values(["frame", "person"], kind="stable", ignore_index=True)


def repair(
    tracks: pd.DataFrame, people: Sequence[Person], view: int, camera: Camera, frames: np.ndarray, settings: Mapping
) -> pd.DataFrame:
    """One view's tracks with what it lacks, or has wrong, taken from the fused people: the content of repaired.parquet.

    A joint is wrong where it was left out of the fusion, its side was exchanged, or its position relative to the hips
    is further from the fused one than `outlier_limit` of the person's size. Somebody whose track broke off has one
    track again; somebody whom the view lost is put back where the fused pose is in the image. What cannot be fused
    stays.
    """
    parts = [tracks[~tracks.track_id.isin([each for person in people for each in person.track_ids[view]])]]
    unused = int(tracks.track_id.max()) + 1 if len(tracks) else 0
    for person in people:
        mine = person.track_ids[view]
        values, provenance = _repaired(tracks[tracks.track_id.isin(mine)], person, view, camera, frames, settings)
        row, joint = np.nonzero(np.isfinite(values).all(-1))
        named = {
            "frame": frames[row],
            "track_id": mine[0] if mine else unused,
            "joint": np.array(JOINTS, object)[joint],
        }
        numbers = dict(zip(VALUES, values[row, joint].T, strict=True))
        parts.append(pd.DataFrame({**named, **numbers, "provenance": provenance[row, joint]}))
        unused += not mine
    return (
        pd.concat([part for part in parts if len(part)] or parts[:1])
        .astype(COLUMNS)
        .sort_values(["frame", "track_id", "joint"], key=lambda c: c.map(INDEX) if c.name == "joint" else c)
        .reset_index(drop=True)
    )


def _repaired(table, person: Person, view: int, camera: Camera, frames, settings) -> tuple[np.ndarray, np.ndarray]:
    """Values (F, J, 6) and provenance (F, J) of one person in one view."""
    tracked, fused = person.tracked[view], person.fused
    pixels = camera.project(fused.points)[0]
    local = (fused.points - fused.points[:, HIPS].mean(axis=1, keepdims=True)) @ camera.R.T
    replacement = np.concatenate([pixels, local, fused.confidence[..., None]], axis=-1)
    limit = settings["outlier_limit"] * _size(fused.points)
    exchanged = fused.swapped[view][:, None] & (np.arange(len(JOINTS)) != MIRROR)
    near = np.linalg.norm(tracked[..., 2:5] - local, axis=-1) <= limit
    right = fused.agreed[view] & near & ~exchanged
    shown = camera.inside(pixels).any(-1)[:, None]
    replaced = ~right & np.isfinite(replacement).all(-1) & shown
    values = np.where(replaced[..., None], replacement, tracked)
    middle = values[:, HIPS, 2:5].mean(axis=1, keepdims=True)
    values[..., 2:5] -= np.where(np.isfinite(middle) & replaced.any(-1)[:, None, None], middle, 0.0)
    words = np.full(replaced.shape, None, object)
    words[_places(table, frames)] = table.provenance.to_numpy(object)
    words[replaced] = FUSED
    return values, words


def _dense(table: pd.DataFrame, frames: np.ndarray) -> np.ndarray:
    """(F, J, 6) the VALUES of one track, NaN where it has no row."""
    dense = np.full(_shape(frames), np.nan)
    dense[_places(table, frames)] = table[VALUES].to_numpy(float)
    return dense


def _shape(frames: np.ndarray) -> tuple[int, int, int]:
    return len(frames), len(JOINTS), len(VALUES)


def _places(table: pd.DataFrame, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each row of the table in arrays (F, J)."""
    return np.searchsorted(frames, table.frame.to_numpy(frames.dtype)), table.joint.map(INDEX).to_numpy(int)


def _joined(parts: np.ndarray) -> np.ndarray:
    """(F, J, 6) of tracks (T, F, J, 6) that have no frame in common; NaN where none has anything."""
    joined = np.full(parts.shape[1:], np.nan)
    for part in parts:
        joined = np.where(np.isfinite(part).all(-1, keepdims=True), part, joined)
    return joined


def _size(points: np.ndarray) -> float:
    """The longest side of the box around `points` (F, J, D), its median over frames; NaN where there are none."""
    known = points[np.isfinite(points).all(-1).any(-1)]
    if not len(known):
        return np.nan
    return float(np.median((np.nanmax(known, axis=1) - np.nanmin(known, axis=1)).max(-1)))
