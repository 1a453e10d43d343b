"""How near a fitted body is to the truth, beside the landmarks that it was fitted to.

Both are held against the same labels of the same joints in the same frames, so that their ratio says what the fit is
worth. The fit's own joints and surface, which landmarks do not have, are scored beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pose_factory.bodies.anny_body import DEFAULT_PHENOTYPE, PHENOTYPES
from pose_factory.errors import PoseFactoryError
from pose_factory.export.recording import Recording
from pose_factory.files import json_safe
from pose_factory.fitting.fitted import FittedBody, joint_bones
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.joint_angles import joint_angles
from pose_factory.geometry.kinematics import local_turns
from pose_factory.skeleton import EDGES, INDEX, JOINTS
from pose_factory.tracking.people import DETECTED
from pose_factory.validation import metrics
from pose_factory.validation.samples import Sample, read_view

ALIGNMENT = (
    "positions in camera axes relative to the midpoint of the hips, on both sides; pa_ after a similarity Procrustes "
    "alignment of each frame; mpjpe, pa_mpjpe, angles, bone lengths and jitter are over the joints that the tracker "
    "gives and that are labelled, in frames with a fitted body, *_all_joints over all that are labelled"
)
FARTHEST = 1e-3
"""Metres between a labelled joint and the same of the body that it is said to be; more, and it is another body."""
FRAMES_AT_ONCE = 16
"""Frames whose vertices are in memory together."""
MM = 1000.0


@dataclass(frozen=True)
class Compared:
    """One person over F frames in camera axes, metres, NaN for what is missing: what is labelled, `truth` (F, J, 3);
    what the tracker gave, `landmarks` (F, J, 3); what was fitted to it, `fit` (F, J, 3); the joints `labelled` (F, J);
    of these, those that the tracker gives, `scored` (F, J); `frames` (F,) numbers; and the errors (F,) of the fit's
    vertices, relative to the hips and after a similarity alignment, if a true body was given."""

    frames: np.ndarray
    truth: np.ndarray
    landmarks: np.ndarray
    fit: np.ndarray
    labelled: np.ndarray
    scored: np.ndarray
    vertex_error: np.ndarray
    pa_vertex_error: np.ndarray


def score(
    bodies: Mapping[int, FittedBody],
    ground_truth: pd.DataFrame,
    boxes: pd.DataFrame,
    tracks: pd.DataFrame,
    joint_set: Sequence[str],
    camera: Camera,
    fps: float,
    true_bodies: Mapping[int, FittedBody] | None = None,
) -> dict:
    """What the `bodies` {track_id: body} of one view got right, beside the landmarks of `tracks` that they were fitted
    to; fit for JSON.

    The tables are those of ground_truth, boxes and tracks.parquet, `joint_set` names the joints that the tracker gives
    (`read_about(tracks)["joints"]`), `camera` is that of camera.json and `fps` is frame numbers per second. As in
    `report.validate_view`, in each frame every person is scored on the nearest pose, and on the body of its track.
    `true_bodies` {person of the ground truth: its body in this camera's axes}, from `true_body`, are for the errors of
    vertices, which are None without.

    Returns {"frames": with both a pose and a body, "landmarks": {mpjpe_mm, pa_mpjpe_mm, angle_error_degrees,
    bone_length_deviation_mm, jitter_m_per_s3}, "fit": the same and {mpjpe_all_joints_mm, pa_mpjpe_all_joints_mm,
    vertex_error_mm, pa_vertex_error_mm}, "ratio": fit by landmarks of what both have, "truth": {jitter_m_per_s3},
    "by_joint": {joint: {landmarks_mm, fit_mm}}, "by_angle": {angle: {landmarks_degrees, fit_degrees}}, "alignment":
    text}; None for what cannot be measured. Raises PoseFactoryError for tables that do not belong together.
    """
    view = read_view(ground_truth, boxes, tracks, joint_set, camera)
    true_bodies = true_bodies or {}
    people = [compare(sample, bodies, camera, true_bodies.get(name)) for name, sample in view.people.items()]
    return summarise(people, fps)


def compare(sample: Sample, bodies: Mapping[int, FittedBody], camera: Camera, true_body: FittedBody | None) -> Compared:
    """One person of a view beside the `bodies` {track_id: body}, in the frames that have a body."""
    fit = np.full(sample.world.shape, np.nan)
    vertex_error, pa_vertex_error = np.full(len(sample.frames), np.nan), np.full(len(sample.frames), np.nan)
    for track, body in bodies.items():
        mine = (sample.track == track) & np.isin(sample.frames, body.frames)
        at = np.searchsorted(body.frames, sample.frames[mine])
        fit[mine] = body.joints()[at]
        if true_body is not None:
            vertex_error[mine], pa_vertex_error[mine] = vertex_errors(body, true_body, sample.frames[mine])
    posed = np.isfinite(fit).any((-1, -2))
    return Compared(
        frames=sample.frames[posed],
        truth=(sample.world @ camera.R.T)[posed],
        landmarks=sample.tracked[posed],
        fit=fit[posed],
        labelled=(sample.visibility > 0)[posed],
        scored=sample.scored[posed],
        vertex_error=vertex_error[posed],
        pa_vertex_error=pa_vertex_error[posed],
    )


def summarise(people: Sequence[Compared], fps: float) -> dict:
    """What `score` returns, of these people together, who may be of several views at the same `fps`."""
    truth, scored, labelled = (_joined(people, name) for name in ("truth", "scored", "labelled"))
    series = {name: _joined(people, name) for name in ("landmarks", "fit")}
    errors = {name: _errors(points, truth, scored) for name, points in series.items()}
    angles = {name: angle_errors(points, truth) for name, points in series.items()}
    of_all = {name: np.array(list(of.values())) for name, of in angles.items()}
    defined = np.isfinite(of_all["landmarks"] + of_all["fit"])
    scores = {
        name: {
            "mpjpe_mm": float(metrics.mean(errors[name])),
            "pa_mpjpe_mm": metrics.pa_mpjpe(points, truth, scored) * MM,
            "angle_error_degrees": float(metrics.mean(np.where(defined, of_all[name], np.nan))),
            "bone_length_deviation_mm": float(
                metrics.mean([bone_length_deviation(getattr(person, name), person.scored) for person in people]) * MM
            ),
            "jitter_m_per_s3": _jitter(people, name, fps),
        }
        for name, points in series.items()
    }
    ratio = {name: _ratio(scores["fit"][name], scores["landmarks"][name]) for name in scores["fit"]}
    scores["fit"] |= {
        "mpjpe_all_joints_mm": float(metrics.mean(_errors(series["fit"], truth, labelled))),
        "pa_mpjpe_all_joints_mm": metrics.pa_mpjpe(series["fit"], truth, labelled) * MM,
        "vertex_error_mm": float(metrics.mean(_joined(people, "vertex_error")) * MM),
        "pa_vertex_error_mm": float(metrics.mean(_joined(people, "pa_vertex_error")) * MM),
    }
    result = {
        "frames": len(truth),
        **scores,
        "ratio": ratio,
        "truth": {"jitter_m_per_s3": _jitter(people, "truth", fps)},
        "by_joint": {
            JOINTS[joint]: {f"{name}_mm": float(metrics.mean(of[:, joint])) for name, of in errors.items()}
            for joint in np.flatnonzero(scored.any(0))
        },
        "by_angle": {
            angle: {f"{name}_degrees": float(metrics.mean(of[angle])) for name, of in angles.items()}
            for angle in angles["fit"]
        },
        "alignment": ALIGNMENT,
    }
    return json_safe(result)


def angle_errors(points, truth) -> dict[str, np.ndarray]:
    """{angle: (F,)} how far each joint angle of `points` (F, J, 3) is from that of `truth`, degrees, NaN where one of
    them is undefined."""
    found, true = joint_angles(points), joint_angles(truth)
    return {name: np.abs(found[name] - true[name]) for name in true}


def bone_length_deviation(points, mask=None) -> float:
    """The standard deviation over the frames of a bone's length in `points` (F, J, 3), mean over the skeleton's bones,
    in the unit of the input: 0 for a body, whose bones are rigid. Of the joints in `mask` (F, J)."""
    points = points if mask is None else np.where(mask[..., None], points, np.nan)
    starts, ends = (np.array([INDEX[edge[end]] for edge in EDGES]) for end in (0, 1))
    lengths = np.linalg.norm(points[:, ends] - points[:, starts], axis=-1)
    return float(metrics.mean(np.sqrt(metrics.mean((lengths - metrics.mean(lengths, axis=0)) ** 2, axis=0))))


def vertex_errors(body: FittedBody, true_body: FittedBody, frames) -> tuple[np.ndarray, np.ndarray]:
    """(F,) mean distances of the vertices of two bodies in those of their `frames` (F,), metres: with the midpoints of
    the hips laid on each other (PVE), and after the similarity that is best for each frame (PA-PVE)."""
    rows, true_rows = np.searchsorted(body.frames, frames), np.searchsorted(true_body.frames, frames)
    plain, aligned = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        found, true = _from_hips(body[rows[part]]), _from_hips(true_body[true_rows[part]])
        plain[part] = metrics.joint_errors(found, true).mean(-1)
        aligned[part] = metrics.joint_errors(metrics.similarity_align(found, true), true).mean(-1)
    return plain, aligned


def true_body(
    anny: Mapping, recording: Recording, first: int, ground_truth: pd.DataFrame, camera: Camera
) -> FittedBody:
    """The body of a rendered Anny character (its `anny` in the config, its motion as recorded from frame `first` on) in
    the frames that the table ground_truth labels, which has nobody else, in the axes of `camera`.

    Clothes are no part of it, as they are of no fitted body. Its translation is what `camera` sees, and not for the
    focal length that trackers assume. Raises PoseFactoryError where the labels are another body's.
    """
    frames = np.unique(ground_truth.frame)
    rotations = local_turns(recording.turns[frames - first].astype(float), recording.parents)
    rotations[:, 0] = camera.R @ rotations[:, 0]
    labels = _labels(ground_truth, camera)
    true = FittedBody(
        frames=frames,
        provenance=np.full(len(frames), DETECTED, dtype=object),
        rotations=rotations,
        translation=labels[:, INDEX["pelvis"]],
        phenotype=np.array([anny["phenotype"].get(name, DEFAULT_PHENOTYPE) for name in PHENOTYPES], float),
        local=anny.get("local", {}),
    )
    bones = [INDEX[joint] for joint in joint_bones()]  # hair is above the top of the head
    apart = np.linalg.norm(true.joints() - labels, axis=-1)[:, bones].max()
    if not apart < FARTHEST:
        raise PoseFactoryError(
            f"The labels are up to {apart * MM:.1f} mm off the body that the character is said to be: make both again."
        )
    return true


def _labels(ground_truth: pd.DataFrame, camera: Camera) -> np.ndarray:
    """(F, J, 3) the labelled joints by frame, metres, camera axes."""
    table = ground_truth.pivot(index="frame", columns="joint", values=["x", "y", "z"])
    return camera.to_camera(np.stack([table[axis][JOINTS].to_numpy() for axis in "xyz"], axis=-1))


def _from_hips(body: FittedBody) -> np.ndarray:
    """(N, V, 3) vertices relative to the midpoint of the hips."""
    return body.vertices() - body.joints()[:, metrics.HIPS, :].mean(axis=1, keepdims=True)


def _joined(people: Sequence[Compared], name: str) -> np.ndarray:
    return np.concatenate([getattr(person, name) for person in people])


def _errors(points, truth, mask) -> np.ndarray:
    """(F, J) millimetres, hip to hip."""
    return metrics.joint_errors(metrics.root_align(points), metrics.root_align(truth), mask) * MM


def _jitter(people: Sequence[Compared], name: str, fps: float) -> float:
    found = [metrics.jitter(getattr(person, name), person.frames, person.scored) for person in people]
    return float(metrics.mean(found)) * fps**3


def _ratio(value: float, baseline: float) -> float:
    return value / baseline if baseline > 0 else np.nan
