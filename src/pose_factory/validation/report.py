"""What a tracker got right: one view's tables in, `validation.json` and a per-joint table out, and their summaries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pose_factory.errors import PoseFactoryError
from pose_factory.files import json_safe
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, JOINTS, SIGMAS
from pose_factory.tracking.people import DETECTED
from pose_factory.validation import metrics, rig_bias
from pose_factory.validation.identity import identity_scores
from pose_factory.validation.samples import Poses, Sample, View, pooled, read_view

ALIGNMENT = (
    "positions in camera axes relative to the midpoint of the hips, on both sides; pa_mpjpe after a similarity "
    "Procrustes alignment of each frame; in each frame every person is scored on the nearest pose; pck, oks and ap "
    "count a missing pose as wrong, mm and px errors are over tracked frames only"
)
AT_LEAST = (
    "coverage",
    "detected_coverage",
    "pck_05",
    "pck_10",
    "oks_mean",
    "ap",
    "ap50",
    "ap75",
    "idf1",
    "mota",
    "hota",
)
AT_MOST = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "acceleration_error_mm_per_frame2",
    "acceleration_error_m_per_s2",
    "swap_rate",
)
COMPARED = ("pck_10", "mpjpe_mm", "pa_mpjpe_mm")
JITTER = ("jitter_m_per_s3", "jitter_of_truth_m_per_s3")
GAPS = {"1": (1, 1), "2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, np.inf)}
"""Lengths of gaps between detections, in frames: name, least and greatest."""
OKS_JOINTS = [INDEX[joint] for joint in SIGMAS]
MM = 1000.0


def validate_view(
    ground_truth: pd.DataFrame,
    boxes: pd.DataFrame,
    tracks: pd.DataFrame,
    joint_set: Sequence[str],
    camera: Camera,
    fps: float,
    thresholds: Mapping[str, float],
) -> tuple[dict, pd.DataFrame]:
    """Score one view's tracks: the content of `validation.json`, and a table with one row per canonical joint.

    The tables are those of ground_truth, boxes and tracks.parquet; `joint_set` names the joints that the tracker gives
    where it finds somebody; `fps` is frame numbers per second. `thresholds` maps headline metrics (`AT_LEAST`,
    `AT_MOST`) to the worst value that passes; a metric that could not be measured fails. In each frame every person is
    scored on the pose nearest to it (`samples.assign`), and `identity` says whether it is the same track's. Joints are
    scored where they are labelled (visibility 1 or 2) and of `joint_set`, so that a view in which nobody is found
    scores 0. Scores are of all people together, with those of each by itself in `people`. `rig_bias_mm` is this view's
    own estimate, which no score uses: fitted to the view that it would correct, it would hide tracking error (`pool`
    has the scores without rig bias). Unmeasurable values are None in the dict and NaN in the table, which has one row
    per person and canonical joint.
    Raises PoseFactoryError for an unknown threshold and for tables that do not belong together.
    """
    unknown = sorted(set(thresholds) - {*AT_LEAST, *AT_MOST})
    if unknown:
        raise PoseFactoryError(
            f"Unknown validation threshold '{unknown[0]}'; use one of {', '.join((*AT_LEAST, *AT_MOST))}."
        )
    view = read_view(ground_truth, boxes, tracks, joint_set, camera)
    people, poses = view.people, view.poses
    biases = {person: rig_bias.estimate([_seen(sample, camera)]) for person, sample in people.items()}
    everybody = pooled(list(people.values()))

    coverage = _coverage(everybody)
    identity = _identity(view)
    as_labelled = _scores(everybody, poses, camera, fps)
    failures = _failures({**coverage, **as_labelled, **identity}, thresholds)
    joints = pd.concat(
        [_joint_table(person, sample, biases[person], camera) for person, sample in people.items()], ignore_index=True
    )
    by_joint = error_by_joint(joints).set_index("joint")
    by_joint = by_joint[by_joint.n_labelled > 0]
    validation = {
        "frames": len(np.unique(everybody.frames)),
        "tracks": len(np.unique(poses.track)),
        **coverage,
        "by_provenance": _by_provenance(everybody, camera),
        "by_gap": _by_gap(list(people.values()), camera),
        "identity": identity,
        "people": {str(person): _person(sample, camera) for person, sample in people.items()},
        "as_labelled": as_labelled,
        "coherence": _coherence(everybody, camera, fps),
        "rig_bias_mm": {**{str(p): _bias_in_mm(bias) for p, bias in biases.items()}, "frame": rig_bias.FRAME},
        "by_visibility": {
            word: _part(replace(everybody, scored=everybody.scored & (everybody.visibility == state)), camera)
            for word, state in (("visible", 2), ("occluded", 1))
        },
        "by_joint": by_joint[["mpjpe_mm", "pck_10"]].to_dict("index"),
        "joint_set": list(by_joint.index),
        "alignment": ALIGNMENT,
        "azimuth": _azimuth(camera),
        "passed": not failures,
        "failures": failures,
    }
    return json_safe(validation), joints


def summarise(validations: Iterable[tuple[str, str, float, dict]], rig_biases: Mapping[str, dict]) -> pd.DataFrame:
    """One row per (character, camera angle, the angle's azimuth, content of validation.json) with the headline metrics.

    The azimuth is the config's, in degrees, without what was drawn for the view, so that views of one angle share it.
    Metrics are as labelled; those ending in `_without_rig_bias` are of `rig_biases` {character: content of
    rig_bias.json}. None becomes NaN.
    """
    columns = ["character", "camera_angle", "azimuth", "frames", "people", "tracks", "switches"]
    scores = [*AT_LEAST, *AT_MOST, *JITTER, *(f"{name}_without_rig_bias" for name in COMPARED)]
    rows = []
    for character, camera_angle, azimuth, validation in validations:
        moved = rig_biases[character]["without_rig_bias"][camera_angle]
        compared = {f"{name}_without_rig_bias": moved[name] for name in COMPARED}
        named = {"character": character, "camera_angle": camera_angle, "failures": "; ".join(validation["failures"])}
        named |= {"azimuth": azimuth % 360.0, "people": len(validation["people"])}
        parts = [validation[part] for part in ("as_labelled", "identity", "coherence")]
        rows.append({**validation, **parts[0], **parts[1], **parts[2], **compared, **named})
    table = pd.DataFrame(rows, columns=[*columns, *scores, "passed", "failures"])
    return table.astype(dict.fromkeys(scores, float))


def pool(
    views: Mapping[str, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Sequence[str], Camera]], fps: float
) -> dict:
    """A character's rig bias over all frames of all `views`, and what each view scores without it: `rig_bias.json`.

    `views` is {camera angle: (ground truth, boxes, tracks, joint set, camera)}, each as for `validate_view`, as is
    `fps`. Each person has a rig, and so an offset, of its own. Returns {"offset_mm": {person: {joint: [x, y, z]},
    "frame": text}, "spread_mm": {person: {joint: mm}}, "frames": {person: {joint: count}}, "without_rig_bias": {camera
    angle: scores}}, with the scores of validation.json's `as_labelled` against ground truth moved by those offsets;
    joints without an estimate are not scored. When no joint has one, a "note" says so and the scores are None.
    """
    seen = {angle: (read_view(*tables, camera), camera) for angle, (*tables, camera) in views.items()}
    people = sorted({person for view, _ in seen.values() for person in view.people})
    biases = {
        person: rig_bias.estimate([_seen(view.people[person], camera) for view, camera in seen.values()])
        for person in people
    }
    offsets = {str(person): _bias_in_mm(bias) for person, bias in biases.items()}

    def scores(view: View, camera: Camera) -> dict:
        moved = [_moved(sample, biases[person], camera) for person, sample in view.people.items()]
        return _scores(pooled(moved), view.poses, camera, fps)

    result = {
        "offset_mm": {**offsets, "frame": rig_bias.FRAME},
        "spread_mm": {
            str(person): {joint: float(bias.spread[INDEX[joint]] * MM) for joint in offsets[str(person)]}
            for person, bias in biases.items()
        },
        "frames": {
            str(person): {joint: int(bias.count[INDEX[joint]]) for joint in offsets[str(person)]}
            for person, bias in biases.items()
        },
        "without_rig_bias": {angle: scores(view, camera) for angle, (view, camera) in seen.items()},
    }
    if not any(offsets.values()):
        result["note"] = (
            f"no joint has an estimate: it takes {rig_bias.MIN_FRAMES} frames, over all views, in which the joint is "
            "tracked, and it, hips, pelvis and neck are annotated"
        )
    return json_safe(result)


def error_by_azimuth(summary: pd.DataFrame) -> pd.DataFrame:
    """Means over the views at each azimuth (degrees), from `summarise`'s table: coverage, PCK and mm errors."""
    columns = ["coverage", "pck_05", "pck_10", "mpjpe_mm", "pa_mpjpe_mm", "mpjpe_mm_without_rig_bias", "swap_rate"]
    grouped = summary.groupby("azimuth")
    return grouped[columns].mean().assign(views=grouped.size()).reset_index()


def error_by_joint(joints: pd.DataFrame) -> pd.DataFrame:
    """Means over views of their joint tables put end to end, weighted by scored frames; canonical joint order."""
    weights = {"mpjpe_mm": "n", "pa_mpjpe_mm": "n", "pixel_error": "n"}
    weights |= {"pck_05": "n_labelled", "pck_10": "n_labelled"}
    weights |= {"mpjpe_visible_mm": "n_visible", "mpjpe_occluded_mm": "n_occluded"}
    grouped = joints.groupby("joint")
    means = {name: grouped.apply(_weighted_mean, name, weight) for name, weight in weights.items()}
    table = pd.DataFrame({"n_labelled": grouped.n_labelled.sum(), "n": grouped.n.sum(), **means})
    return table.reindex([joint for joint in JOINTS if joint in table.index]).rename_axis("joint").reset_index()


def _weighted_mean(rows: pd.DataFrame, name: str, weight: str) -> float:
    known = rows[rows[name].notna()]
    total = known[weight].sum()
    return (known[name] * known[weight]).sum() / total if total else np.nan


def _seen(sample: Sample, camera: Camera) -> rig_bias.View:
    return sample.tracked_pixels, sample.world, camera


def _moved(sample: Sample, bias: rig_bias.RigBias, camera: Camera) -> Sample:
    """The sample with its labels where the tracker would put them; joints without a bias are no longer scored."""
    world = rig_bias.apply(sample.world, bias)
    scored = sample.scored & np.isfinite(world).all(-1)
    return replace(sample, world=world, pixels=camera.project(world)[0], scored=scored)


def _oks(pixels, sample: Sample, rows=slice(None)) -> np.ndarray:
    """(N,) OKS of poses, (N, J, 2) pixels, with the person in the frames `rows` (N,)."""
    return metrics.oks(
        pixels[:, OKS_JOINTS],
        sample.pixels[rows][:, OKS_JOINTS],
        sample.area[rows],
        sample.scored[rows][:, OKS_JOINTS],
        list(SIGMAS.values()),
    )


def _scores(sample: Sample, poses: Poses, camera: Camera, fps: float) -> dict:
    truth = sample.world @ camera.R.T
    similarity = _oks(sample.tracked_pixels, sample)
    confidence = metrics.mean(sample.confidence[:, OKS_JOINTS], axis=-1)
    detected = np.isfinite(similarity) & np.isfinite(confidence)
    nobodys = metrics.mean(poses.confidence[(poses.person < 0) & poses.inside][:, OKS_JOINTS], axis=-1)
    nobodys = nobodys[np.isfinite(nobodys)]
    precision = metrics.average_precision(  # of equally sure poses the wrong ones come first
        np.append(np.zeros(len(nobodys)), similarity[detected]),
        np.append(nobodys, confidence[detected]),
        int(np.isfinite(similarity).sum()),
    )
    acceleration = metrics.acceleration_error(sample.tracked, truth, sample.frames, sample.scored)
    return {
        "pck_05": _pck(sample, 0.05),
        "pck_10": _pck(sample, 0.10),
        "oks_mean": float(metrics.mean(similarity)),
        **precision,
        "mpjpe_mm": metrics.mpjpe(sample.tracked, truth, sample.scored) * MM,
        "pa_mpjpe_mm": metrics.pa_mpjpe(sample.tracked, truth, sample.scored) * MM,
        "acceleration_error_mm_per_frame2": acceleration * MM,
        "acceleration_error_m_per_s2": acceleration * fps**2,
        "swap_rate": metrics.left_right_swap_rate(sample.tracked_pixels, sample.pixels, sample.scored),
    }


def _coverage(sample: Sample) -> dict:
    """Of the frames in which there is somebody: those with a pose of any provenance, and with one that was detected."""
    return {
        "coverage": metrics.coverage(sample.tracked_pixels[sample.present]),
        "detected_coverage": float(metrics.mean((sample.provenance == DETECTED)[sample.present].astype(float))),
    }


def _identity(view: View) -> dict:
    """Whether tracks keep to their people. To be found are people of whom a scored joint is visible.

    Somebody wholly hidden or outside the image is neither missed nor, where the tracker bridges the time with a pose
    near them, a false positive; nor is a pose outside the image.
    """
    people, poses = list(view.people.values()), view.poses
    visible = [(sample.scored & (sample.visibility == 2))[:, OKS_JOINTS].any(-1) for sample in people]
    present = np.stack(visible, axis=-1)
    needed = (poses.person < 0) | present[poses.row, poses.person]
    judged = poses.inside & needed
    similarity = np.stack([_oks(poses.pixels, sample, poses.row) for sample in people], axis=-1)
    return identity_scores(np.nan_to_num(similarity[judged]), poses.row[judged], poses.track[judged], present)


def _person(sample: Sample, camera: Camera) -> dict:
    ids, counts = np.unique(sample.track[sample.present & np.isfinite(sample.track)], return_counts=True)
    return {
        "frames": int(sample.present.sum()),
        **_coverage(sample),
        "tracks": ids[np.argsort(-counts, kind="stable")].astype(int).tolist(),
        **_part(sample, camera),
    }


def _coherence(sample: Sample, camera: Camera, fps: float) -> dict:
    """The jitter of what is tracked, and of the truth of the same joints in the same frames."""
    tracked = sample.scored & np.isfinite(sample.tracked).all(-1)
    motions = (sample.tracked, sample.world @ camera.R.T)
    return {
        name: metrics.jitter(points, sample.frames, tracked) * fps**3
        for name, points in zip(JITTER, motions, strict=True)
    }


def _part(sample: Sample, camera: Camera) -> dict:
    return {
        "joints": int(sample.scored.sum()),
        "pck_05": _pck(sample, 0.05),
        "pck_10": _pck(sample, 0.10),
        "mpjpe_mm": metrics.mpjpe(sample.tracked, sample.world @ camera.R.T, sample.scored) * MM,
    }


def _pck(sample: Sample, threshold: float) -> float:
    return metrics.pck(sample.tracked_pixels, sample.pixels, sample.box_size, sample.scored, threshold)


def _by_provenance(sample: Sample, camera: Camera) -> dict:
    words = sample.provenance[sample.present]
    parts = {}
    for word in sorted({word for word in words if isinstance(word, str)}):
        part = _part(replace(sample, scored=sample.scored & (sample.provenance == word)[:, None]), camera)
        parts[word] = {"frames": int((words == word).sum()), "coverage": float((words == word).mean()), **part}
    return parts


def _by_gap(people: Sequence[Sample], camera: Camera) -> dict:
    """Scores of the frames in which nobody was detected, by how many of them follow each other."""
    everybody = pooled(people)
    length = np.concatenate([_gap_lengths(sample.provenance == DETECTED) for sample in people])
    parts = {}
    for name, (least, greatest) in GAPS.items():
        within = (least <= length) & (length <= greatest)
        part = replace(everybody, scored=everybody.scored & within[:, None])
        if part.present.any():
            coverage = metrics.coverage(part.tracked_pixels[part.present])
            parts[name] = {"frames": int(part.present.sum()), "coverage": coverage, **_part(part, camera)}
    return parts


def _gap_lengths(detected) -> np.ndarray:
    """(F,) how many frames the gap between detections has that each frame lies in; 0 for `detected` frames (F,)."""
    runs = np.split(detected, np.flatnonzero(np.diff(detected)) + 1)
    return np.concatenate([np.full(len(run), 0 if run.all() else len(run)) for run in runs])


def _joint_table(person: int, sample: Sample, bias: rig_bias.RigBias, camera: Camera) -> pd.DataFrame:
    tracked, truth, scored = sample.tracked, sample.world @ camera.R.T, sample.scored
    errors = metrics.joint_errors(metrics.root_align(tracked), metrics.root_align(truth), scored) * MM
    pose_errors = metrics.joint_errors(metrics.similarity_align(tracked, truth, scored), truth, scored) * MM
    visible, occluded = sample.visibility == 2, sample.visibility == 1
    pixel_errors = metrics.joint_errors(sample.tracked_pixels, sample.pixels, scored)

    def correct(threshold):
        labels = (sample.tracked_pixels, sample.pixels, sample.box_size, scored)
        return metrics.mean(metrics.correct_keypoints(*labels, threshold), axis=0)

    return pd.DataFrame(
        {
            "person": np.int32(person),
            "joint": JOINTS,
            "n_labelled": scored.sum(0),
            "n": np.isfinite(pixel_errors).sum(0),
            "n_visible": (scored & visible).sum(0),
            "n_occluded": (scored & occluded).sum(0),
            "mpjpe_mm": metrics.mean(errors, axis=0),
            "median_mm": [_quantile(column, 0.5) for column in errors.T],
            "p95_mm": [_quantile(column, 0.95) for column in errors.T],
            "mpjpe_visible_mm": metrics.mean(np.where(visible, errors, np.nan), axis=0),
            "mpjpe_occluded_mm": metrics.mean(np.where(occluded, errors, np.nan), axis=0),
            "pa_mpjpe_mm": metrics.mean(pose_errors, axis=0),
            "pck_05": correct(0.05),
            "pck_10": correct(0.10),
            "pixel_error": metrics.mean(pixel_errors, axis=0),
            **{f"rig_bias_{axis}_mm": bias.offset[:, i] * MM for i, axis in enumerate("xyz")},
            "rig_bias_spread_mm": bias.spread * MM,
        }
    )


def _quantile(values, fraction: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, fraction)) if len(finite) else np.nan


def _bias_in_mm(bias: rig_bias.RigBias) -> dict:
    known = [joint for joint in JOINTS if np.isfinite(bias.offset[INDEX[joint]]).all()]
    return {joint: (bias.offset[INDEX[joint]] * MM).tolist() for joint in known}


def _failures(measured: Mapping[str, float], thresholds: Mapping[str, float]) -> list[str]:
    failures = []
    for name, limit in thresholds.items():
        value = measured[name]
        if not np.isfinite(value):
            failures.append(f"{name} could not be measured")
        elif name in AT_LEAST and value < limit:
            failures.append(f"{name} {value:.4g} is below {limit:g}")
        elif name in AT_MOST and value > limit:
            failures.append(f"{name} {value:.4g} is above {limit:g}")
    return failures


def _azimuth(camera: Camera) -> float:
    """Degrees 0..360: 0 looks along +Y at the person's front, 90 along -X."""
    forward = camera.R[2]
    return round(float(np.degrees(np.arctan2(-forward[0], forward[1]))), 6) % 360.0
