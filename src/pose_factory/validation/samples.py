"""One view's tables as dense arrays, and whose each tracked pose is.

Every frame is for itself here: its poses are given to its people one to one, each to the nearest, whatever their tracks
are called. So a track that changes over to another person costs no millimetres; `identity` counts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.validation import metrics

REACH = 0.5
"""A pose whose joints are on average this fraction of a person's longer side away from that person's is not theirs."""


@dataclass(frozen=True)
class Sample:
    """One person in one view over F frames and the canonical joints (J = 23); NaN for what is missing.

    `frames` (F,) numbers; `world` (F, J, 3) metres; `pixels` (F, J, 2) where the labels fall; `visibility` (F, J) as
    COCO's; `scored` (F, J) labelled joints of the tracker's set; `box_size` (F,) longer side, pixels; `area` (F,)
    square pixels; `tracked` (F, J, 3) metres in camera axes; `tracked_pixels` (F, J, 2); `confidence` (F, J);
    `provenance` (F,) word or None; `track` (F,) id, NaN where there is no pose.
    """

    frames: np.ndarray
    world: np.ndarray
    pixels: np.ndarray
    visibility: np.ndarray
    scored: np.ndarray
    box_size: np.ndarray
    area: np.ndarray
    tracked: np.ndarray
    tracked_pixels: np.ndarray
    confidence: np.ndarray
    provenance: np.ndarray
    track: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(F,) whether there is a joint to score, so that there should be a pose."""
        return self.scored.any(-1)


@dataclass(frozen=True)
class Poses:
    """All D tracked poses of a view, sorted by frame and track; NaN for what is missing.

    `row` (D,) index of the frame; `track` (D,) id; `person` (D,) index of the person whose it is, -1 for nobody's;
    `inside` (D,) whether any joint is inside the image; `points` (D, J, 3) metres in camera axes; `pixels` (D, J, 2);
    `confidence` (D, J); `provenance` (D,) word.
    """

    row: np.ndarray
    track: np.ndarray
    person: np.ndarray
    inside: np.ndarray
    points: np.ndarray
    pixels: np.ndarray
    confidence: np.ndarray
    provenance: np.ndarray


@dataclass(frozen=True)
class View:
    """A view's `people`, by their number in the ground truth, and all `poses` that the tracker has in it."""

    people: dict[int, Sample]
    poses: Poses


def read_view(
    ground_truth: pd.DataFrame, boxes: pd.DataFrame, tracks: pd.DataFrame, joint_set: Sequence[str], camera: Camera
) -> View:
    """The view that the tables ground_truth, boxes and tracks.parquet describe.

    Joints are scored where they are labelled (visibility 1 or 2) and of `joint_set`, the joints that the tracker gives.
    Raises PoseFactoryError for tables that do not belong together.
    """
    names, frames = np.unique(ground_truth.person), np.unique(ground_truth.frame)
    keys, truth = _dense(ground_truth, ["person", "frame"], ["x", "y", "z", "u", "v", "visibility"], "ground truth")
    if not len(keys) or len(keys) != len(names) * len(frames):
        raise PoseFactoryError("The ground truth table lacks a person in some of its frames; make it again.")
    truth = truth.reshape(len(names), len(frames), *truth.shape[1:])
    area, box_size = _boxes(boxes, keys, truth[..., 5] > 0)
    poses = _poses(tracks, frames, truth[..., 3:5], box_size, camera)
    people = {}
    for index, name in enumerate(names.tolist()):
        mine = np.full(len(frames), -1)
        mine[poses.row[poses.person == index]] = np.flatnonzero(poses.person == index)
        people[name] = Sample(
            frames=frames,
            world=truth[index, ..., :3],
            pixels=truth[index, ..., 3:5],
            visibility=truth[index, ..., 5],
            scored=(truth[index, ..., 5] > 0) & np.isin(JOINTS, joint_set),
            box_size=box_size[index],
            area=area[index],
            tracked=_pick(poses.points, mine),
            tracked_pixels=_pick(poses.pixels, mine),
            confidence=_pick(poses.confidence, mine),
            provenance=_pick(poses.provenance, mine, missing=None),
            track=_pick(poses.track, mine),
        )
    return View(people, poses)


def pooled(samples: Sequence[Sample]) -> Sample:
    """All people as one sample, put end to end along the frames."""
    return Sample(**{field.name: np.concatenate([getattr(s, field.name) for s in samples]) for field in fields(Sample)})


def assign(row, distance) -> np.ndarray:
    """(D,) the index of the person whose each pose is, -1 for nobody's.

    `distance` (D, P) is from each pose to each person, in that person's longer sides, NaN where they have no joint in
    common; `row` (D,) the poses' frames, increasing. In each frame, poses and people are paired one to one so that the
    sum of REACH - distance over the pairs is largest (Kuhn, 1955); no pair is REACH apart or more.
    """
    gain = np.where(distance < REACH, REACH - distance, 0.0)
    person = np.full(len(row), -1)
    for poses in np.split(np.arange(len(row)), np.flatnonzero(np.diff(row)) + 1):
        chosen, partner = linear_sum_assignment(gain[poses], maximize=True)
        person[poses[chosen]] = np.where(gain[poses][chosen, partner] > 0, partner, -1)
    return person


def _poses(tracks: pd.DataFrame, frames, truth, box_size, camera: Camera) -> Poses:
    """The poses of a table of tracks, given to people with joints at `truth` (P, F, J, 2) and boxes of `box_size`."""
    keys, values = _dense(tracks, ["frame", "track_id"], ["x", "y", "z", "u", "v", "confidence"], "tracks")
    if not np.isin(keys.frame, frames).all():
        extra = min(set(keys.frame) - set(frames))
        raise PoseFactoryError(f"The tracks table has frame {extra}, which the ground truth lacks; make both again.")
    words = tracks.drop_duplicates(["frame", "track_id"]).sort_values(["frame", "track_id"]).provenance
    row = np.searchsorted(frames, keys.frame.to_numpy(frames.dtype))
    pixels = values[..., 3:5]
    errors = metrics.mean(metrics.joint_errors(pixels, truth[:, row]), axis=-1)
    return Poses(
        row=row,
        track=keys.track_id.to_numpy(int),
        person=assign(row, (errors / _longer_sides(truth, box_size)[:, row]).T),
        inside=camera.inside(pixels).any(-1),
        points=values[..., :3],
        pixels=pixels,
        confidence=values[..., 5],
        provenance=words.to_numpy(object),
    )


def _pick(values, rows, missing=np.nan) -> np.ndarray:
    """`values[rows]`, `missing` where a row is -1."""
    picked = np.full((len(rows), *values.shape[1:]), missing)
    picked[rows >= 0] = values[rows[rows >= 0]]
    return picked


def _longer_sides(pixels, box_size) -> np.ndarray:
    """(P, F) of the box around the joints (P, F, J, 2), or of the person's, which ends at the image's edge."""
    known = np.isfinite(pixels)
    low, high = np.where(known, pixels, np.inf).min(-2), np.where(known, pixels, -np.inf).max(-2)
    size = np.fmax((high - low).max(-1), box_size)
    return np.where(size > 0, size, np.nan)


def _boxes(boxes: pd.DataFrame, keys: pd.DataFrame, labelled) -> tuple[np.ndarray, np.ndarray]:
    """Area and longer side (P, F) of the boxes of `keys`; NaN where there is none, which no labelled joint may lack."""
    box = boxes.set_index(["person", "frame"]).reindex(pd.MultiIndex.from_frame(keys))
    area = box.area.to_numpy(float)
    size = np.maximum(box.x_max - box.x_min, box.y_max - box.y_min).to_numpy(float)
    boxless = keys.frame[labelled.any(-1).ravel() & ~np.isfinite(area + size)]
    if len(boxless):
        raise PoseFactoryError(
            f"Frame {boxless.iloc[0]} has labelled joints but no box; make the ground truth of this view again."
        )
    return area.reshape(labelled.shape[:2]), size.reshape(labelled.shape[:2])


def _dense(table: pd.DataFrame, by: list[str], columns: list[str], name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """What the N groups of a long table are called, sorted, and their values (N, J, columns); NaN where it has none."""
    strange = sorted(set(table.joint) - set(JOINTS))
    if strange:
        raise PoseFactoryError(
            f"The {name} table has a joint '{strange[0]}' that the canonical skeleton does not have."
        )
    if table.duplicated([*by, "joint"]).any():
        raise PoseFactoryError(f"The {name} table has two rows for one {by[0]}, {by[1]} and joint; make it again.")
    keys = table[by].drop_duplicates().sort_values(by, ignore_index=True)
    dense = np.full((len(keys), len(JOINTS), len(columns)), np.nan)
    group = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(table[by]))
    dense[group, table.joint.map(INDEX).to_numpy(int)] = table[columns].to_numpy(float)
    return keys, dense
