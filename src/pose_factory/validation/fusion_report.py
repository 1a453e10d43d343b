"""What it is worth to fuse a character's views: each of them alone beside all together, and before and after repair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pose_factory.files import json_safe
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import JOINTS
from pose_factory.tracking.views import FUSED, Person
from pose_factory.validation import metrics
from pose_factory.validation.samples import Sample, assign, pooled, read_view

ALIGNMENT = (
    "mpjpe_mm with the midpoints of the hips laid on each other, pa_mpjpe_mm after a similarity Procrustes alignment "
    "of each frame, absolute_mm in the world without any; means over the joints that are labelled and that the tracker "
    "gives, in the frames that have a pose"
)
MM = 1000.0
ALL_VIEWS = "all views"  # no camera angle can be called that
SHARED = ("coverage", "mpjpe_mm", "pa_mpjpe_mm")


@dataclass(frozen=True)
class View:
    """Of one view: the tables ground_truth, boxes, tracks and repaired.parquet, the joints that its tracker gives, and
    its camera."""

    ground_truth: pd.DataFrame
    boxes: pd.DataFrame
    tracks: pd.DataFrame
    repaired: pd.DataFrame
    joint_set: Sequence[str]
    camera: Camera


def fusion_report(people: Sequence[Person], views: Mapping[str, View]) -> tuple[dict, pd.DataFrame]:
    """The content of fusion.json, and the errors by frame: series (a camera angle or ALL_VIEWS), frame, mpjpe_mm.

    `people` were fused from `views` {camera angle: view}, in this order. Poses are held against the person that is
    nearest in each frame, as everywhere. What could not be measured is None in the dict and NaN in the table.
    """
    before = {angle: _sample(view, view.tracks) for angle, view in views.items()}
    after = {angle: _sample(view, view.repaired) for angle, view in views.items()}
    sample = next(iter(before.values()))
    given = np.isin(JOINTS, sorted({joint for view in views.values() for joint in view.joint_set}))
    scored = np.isfinite(sample.world).all(-1) & given
    points = _of_the_truth(people, sample)
    errors = {angle: _errors(before[angle], view.camera) for angle, view in views.items()}
    errors[ALL_VIEWS] = metrics.joint_errors(metrics.root_align(points), metrics.root_align(sample.world), scored) * MM
    absolute = metrics.joint_errors(points, sample.world, scored) * MM
    by_view = {}
    for index, (angle, view) in enumerate(views.items()):
        tracked = sum(int(np.isfinite(person.tracked[index, ..., 0]).sum()) for person in people)
        by_view[angle] = {
            **_scores(before[angle], view.camera),
            "tracked_joints": tracked,
            "rejected_joints": sum(int(_rejected(person)[index].sum()) for person in people),
            "exchanged_frames": sum(int(person.fused.swapped[index].sum()) for person in people),
            "repaired": {
                **_scores(after[angle], view.camera),
                "fused_joints": int((view.repaired.provenance == FUSED).sum()),
            },
        }
    residuals = [person.fused.residual.ravel() for person in people]
    report = {
        "views": len(views),
        "people": [dict(zip(views, person.track_ids, strict=True)) for person in people],
        "single": {name: float(metrics.mean([view[name] for view in by_view.values()])) for name in SHARED},
        "fused": {
            "coverage": _coverage(points, scored),
            "mpjpe_mm": float(metrics.mean(errors[ALL_VIEWS])),
            "pa_mpjpe_mm": metrics.pa_mpjpe(points, sample.world, scored) * MM,
            "absolute_mm": float(metrics.mean(absolute)),
            "residual_px": float(metrics.mean(np.concatenate([[], *residuals]))),
        },
        "by_view": by_view,
        "by_joint": {
            JOINTS[joint]: {
                "single_mpjpe_mm": float(metrics.mean([errors[angle][:, joint] for angle in views])),
                "fused_mpjpe_mm": float(metrics.mean(errors[ALL_VIEWS][:, joint])),
                "absolute_mm": float(metrics.mean(absolute[:, joint])),
                "rejected_joints": sum(int(_rejected(person)[..., joint].sum()) for person in people),
            }
            for joint in np.flatnonzero(scored.any(0))
        },
        "alignment": ALIGNMENT,
    }
    if len(views) < 2:
        report["note"] = "not fused: one view"
    by_frame = [
        pd.DataFrame({"frame": sample.frames, "series": series, "mpjpe_mm": metrics.mean(of_series, axis=-1)})
        for series, of_series in errors.items()
    ]
    means = pd.concat(by_frame).groupby(["series", "frame"], sort=False).mean()
    return json_safe(report), means.reset_index()


def _sample(view: View, tracks: pd.DataFrame) -> Sample:
    """All people of the view, end to end, with what `tracks` says of them."""
    found = read_view(view.ground_truth, view.boxes, tracks, view.joint_set, view.camera)
    return pooled(list(found.people.values()))


def _of_the_truth(people: Sequence[Person], sample: Sample) -> np.ndarray:
    """(P * F, J, 3) the fused points of whoever is nearest to each true person in each frame, in the order of `sample`,
    which has P people end to end; NaN where nobody is near."""
    frames = len(np.unique(sample.frames))
    world = sample.world.reshape(-1, frames, len(JOINTS), 3)
    found = np.full(world.shape, np.nan)
    if people:
        points = np.stack([person.fused.points for person in people], axis=1)
        row, person = np.nonzero(np.isfinite(points).all(-1).any(-1))
        apart = np.linalg.norm(points[row, person][:, None] - world[:, row].swapaxes(0, 1), axis=-1)
        height = np.nanmax(world[..., 2], axis=-1) - np.nanmin(world[..., 2], axis=-1)
        mine = assign(row, metrics.mean(apart, axis=-1) / np.median(height, axis=-1))
        found[mine[mine >= 0], row[mine >= 0]] = points[row, person][mine >= 0]
    return found.reshape(sample.world.shape)


def _rejected(person: Person) -> np.ndarray:
    """(V, F, J) whether a view has a joint that the fused point was made without."""
    return np.isfinite(person.tracked[..., 0]) & np.isfinite(person.fused.points[..., 0]) & ~person.fused.agreed


def _errors(sample: Sample, camera: Camera) -> np.ndarray:
    """(F, J) millimetres, hip to hip."""
    truth = metrics.root_align(sample.world @ camera.R.T)
    return metrics.joint_errors(metrics.root_align(sample.tracked), truth, sample.scored) * MM


def _scores(sample: Sample, camera: Camera) -> dict:
    return {
        "coverage": _coverage(sample.tracked_pixels, sample.scored),
        "pck_10": metrics.pck(sample.tracked_pixels, sample.pixels, sample.box_size, sample.scored, 0.1),
        "mpjpe_mm": float(metrics.mean(_errors(sample, camera))),
        "pa_mpjpe_mm": metrics.pa_mpjpe(sample.tracked, sample.world @ camera.R.T, sample.scored) * MM,
    }


def _coverage(points, scored) -> float:
    """The fraction, of the frames with a joint to score, of those with a pose."""
    return metrics.coverage(points[scored.any(-1)])
