"""What a tracker got right: one view's tables in, `validation.json` and a per-joint table out, and their summaries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, JOINTS, SIGMAS
from pose_factory.validation import metrics, rig_bias

ALIGNMENT = (
    "positions in camera axes relative to the midpoint of the hips, on both sides; pa_mpjpe after a similarity "
    "Procrustes alignment of each frame; pck, oks and ap count a missing pose as wrong, mm and px errors are over "
    "tracked frames only"
)
AT_LEAST = ("coverage", "pck_05", "pck_10", "oks_mean", "ap", "ap50", "ap75")
AT_MOST = (
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "acceleration_error_mm_per_frame2",
    "acceleration_error_m_per_s2",
    "swap_rate",
)
COMPARED = ("pck_10", "mpjpe_mm", "pa_mpjpe_mm")
OKS_JOINTS = [INDEX[joint] for joint in SIGMAS]
MM = 1000.0


@dataclass(frozen=True)
class Sample:
    """One view as dense arrays over F frames and the canonical joints (J = 23); NaN for what is missing.

    `world` (F, J, 3) metres; `pixels` (F, J, 2) where the labels fall; `visibility` (F, J) as COCO's; `scored` (F, J)
    labelled joints of the tracker's set; `box_size` (F,) longer side, pixels; `area` (F,) square pixels; `tracked`
    (F, J, 3) metres in camera axes; `tracked_pixels` (F, J, 2); `confidence` (F, J); `provenance` (F,) word or None.
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
    `AT_MOST`) to the worst value that passes; a metric that could not be measured fails. Of several tracks the one with
    the most frames is scored. Joints are scored where they are labelled (visibility 1 or 2) and of `joint_set`, so that
    a view in which nobody is found scores 0. `rig_bias_mm` is this view's own estimate, which no score uses: fitted to
    the view that it would correct, it would hide tracking error (`pool` has the scores without rig bias).
    Unmeasurable values are None in the dict and NaN in the table.
    Raises PoseFactoryError for an unknown threshold and for tables that do not belong together.
    """
    unknown = sorted(set(thresholds) - {*AT_LEAST, *AT_MOST})
    if unknown:
        raise PoseFactoryError(
            f"Unknown validation threshold '{unknown[0]}'; use one of {', '.join((*AT_LEAST, *AT_MOST))}."
        )
    scored_track = _longest_track(tracks)
    sample = _sample(ground_truth, boxes, tracks[tracks.track_id == scored_track], joint_set)
    bias = rig_bias.estimate([(sample.tracked_pixels, sample.world, camera)])

    coverage = metrics.coverage(sample.tracked_pixels)
    as_labelled = _scores(sample, camera, fps)
    failures = _failures({"coverage": coverage, **as_labelled}, thresholds)
    joints = _joint_table(sample, bias, camera)
    given = joints[sample.scored.any(0)].set_index("joint")
    validation = {
        "frames": len(sample.frames),
        "tracks": tracks.track_id.nunique(),
        "scored_track": scored_track,
        "coverage": coverage,
        "by_provenance": _by_provenance(sample, camera),
        "as_labelled": as_labelled,
        "rig_bias_mm": _bias_in_mm(bias),
        "by_visibility": {
            word: _part(replace(sample, scored=sample.scored & (sample.visibility == state)), camera)
            for word, state in (("visible", 2), ("occluded", 1))
        },
        "by_joint": given[["mpjpe_mm", "pck_10"]].to_dict("index"),
        "joint_set": list(given.index),
        "alignment": ALIGNMENT,
        "azimuth": _azimuth(camera),
        "passed": not failures,
        "failures": failures,
    }
    return _json_safe(validation), joints


def summarise(validations: Iterable[tuple[str, str, dict]], rig_biases: Mapping[str, dict]) -> pd.DataFrame:
    """One row per (character, camera angle, content of validation.json) with the headline metrics.

    Metrics are as labelled; those ending in `_without_rig_bias` are of `rig_biases` {character: content of
    rig_bias.json}. None becomes NaN.
    """
    columns = ["character", "camera_angle", "azimuth", "frames", "tracks"]
    scores = [*AT_LEAST, *AT_MOST, *(f"{name}_without_rig_bias" for name in COMPARED)]
    rows = []
    for character, camera_angle, validation in validations:
        moved = rig_biases[character]["without_rig_bias"][camera_angle]
        compared = {f"{name}_without_rig_bias": moved[name] for name in COMPARED}
        named = {"character": character, "camera_angle": camera_angle, "failures": "; ".join(validation["failures"])}
        rows.append({**validation, **validation["as_labelled"], **compared, **named})
    table = pd.DataFrame(rows, columns=[*columns, *scores, "passed", "failures"])
    return table.astype(dict.fromkeys(scores, float))


def pool(
    views: Mapping[str, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Sequence[str], Camera]], fps: float
) -> dict:
    """A character's rig bias over all frames of all `views`, and what each view scores without it: `rig_bias.json`.

    `views` is {camera angle: (ground truth, boxes, tracks, joint set, camera)}, each as for `validate_view`, as is
    `fps`. Returns {"offset_mm": {joint: [x, y, z], "frame": text}, "spread_mm": {joint: mm}, "frames": {joint: count},
    "without_rig_bias": {camera angle: scores}}, with the scores of validation.json's `as_labelled` against ground truth
    moved by that one offset; joints without an estimate are not scored. When no joint has one, a "note" says so and
    the scores are None.
    """
    samples = {
        angle: (_sample(ground_truth, boxes, tracks[tracks.track_id == _longest_track(tracks)], joint_set), camera)
        for angle, (ground_truth, boxes, tracks, joint_set, camera) in views.items()
    }
    bias = rig_bias.estimate([(sample.tracked_pixels, sample.world, camera) for sample, camera in samples.values()])
    offset = _bias_in_mm(bias)
    estimated = [joint for joint in offset if joint != "frame"]
    pooled = {
        "offset_mm": offset,
        "spread_mm": {joint: float(bias.spread[INDEX[joint]] * MM) for joint in estimated},
        "frames": {joint: int(bias.count[INDEX[joint]]) for joint in estimated},
        "without_rig_bias": {
            angle: _scores(_moved(sample, bias, camera), camera, fps) for angle, (sample, camera) in samples.items()
        },
    }
    if not estimated:
        pooled["note"] = (
            f"no joint has an estimate: it takes {rig_bias.MIN_FRAMES} frames, over all views, in which the joint is "
            "tracked, and it, hips, pelvis and neck are annotated"
        )
    return _json_safe(pooled)


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


def _longest_track(tracks: pd.DataFrame) -> int | None:
    """The track with the most frames, of several the first; None where there is none."""
    frames = tracks.groupby("track_id").frame.nunique()
    return None if frames.empty else int(frames.idxmax())


def _sample(ground_truth: pd.DataFrame, boxes: pd.DataFrame, track: pd.DataFrame, joint_set: Sequence[str]) -> Sample:
    frames = np.unique(ground_truth.frame)
    truth = _dense(ground_truth, frames, ["x", "y", "z", "u", "v", "visibility"], "ground truth")
    tracked = _dense(track, frames, ["x", "y", "z", "u", "v", "confidence"], "tracks")
    box = boxes.set_index("frame").reindex(frames)
    labelled = truth[..., 5] > 0
    area, box_size = box.area.to_numpy(float), np.maximum(box.x_max - box.x_min, box.y_max - box.y_min).to_numpy(float)
    boxless = frames[labelled.any(-1) & ~np.isfinite(area + box_size)]
    if len(boxless):
        raise PoseFactoryError(
            f"Frame {boxless[0]} has labelled joints but no box; make the ground truth of this view again."
        )
    provenance = track.drop_duplicates("frame").set_index("frame").provenance.reindex(frames)
    return Sample(
        frames=frames,
        world=truth[..., :3],
        pixels=truth[..., 3:5],
        visibility=truth[..., 5],
        scored=labelled & np.isin(JOINTS, joint_set),
        box_size=box_size,
        area=area,
        tracked=tracked[..., :3],
        tracked_pixels=tracked[..., 3:5],
        confidence=tracked[..., 5],
        provenance=provenance.to_numpy(object),
    )


def _dense(table: pd.DataFrame, frames: np.ndarray, columns: list[str], name: str) -> np.ndarray:
    """(F, J, columns) from a long table; NaN where it has no row."""
    strange = sorted(set(table.joint) - set(JOINTS))
    if strange:
        raise PoseFactoryError(
            f"The {name} table has a joint '{strange[0]}' that the canonical skeleton does not have."
        )
    if not np.isin(table.frame, frames).all():
        extra = min(set(table.frame) - set(frames))
        raise PoseFactoryError(f"The {name} table has frame {extra}, which the ground truth lacks; make both again.")
    if table.duplicated(["frame", "joint"]).any():
        raise PoseFactoryError(f"The {name} table has two rows for one frame and joint; score one person at a time.")
    dense = np.full((len(frames), len(JOINTS), len(columns)), np.nan)
    rows = np.searchsorted(frames, table.frame.to_numpy(frames.dtype))
    dense[rows, table.joint.map(INDEX).to_numpy(int)] = table[columns].to_numpy(float)
    return dense


def _moved(sample: Sample, bias: rig_bias.RigBias, camera: Camera) -> Sample:
    """The sample with its labels where the tracker would put them; joints without a bias are no longer scored."""
    world = rig_bias.apply(sample.world, bias)
    scored = sample.scored & np.isfinite(world).all(-1)
    return replace(sample, world=world, pixels=camera.project(world)[0], scored=scored)


def _scores(sample: Sample, camera: Camera, fps: float) -> dict:
    truth = sample.world @ camera.R.T
    similarity = metrics.oks(
        sample.tracked_pixels[:, OKS_JOINTS],
        sample.pixels[:, OKS_JOINTS],
        sample.area,
        sample.scored[:, OKS_JOINTS],
        list(SIGMAS.values()),
    )
    confidence = metrics.mean(sample.confidence[:, OKS_JOINTS], axis=-1)
    detected = np.isfinite(similarity) & np.isfinite(confidence)
    acceleration = metrics.acceleration_error(sample.tracked, truth, sample.frames, sample.scored)
    return {
        "pck_05": _pck(sample, 0.05),
        "pck_10": _pck(sample, 0.10),
        "oks_mean": float(metrics.mean(similarity)),
        **metrics.average_precision(similarity[detected], confidence[detected], int(np.isfinite(similarity).sum())),
        "mpjpe_mm": metrics.mpjpe(sample.tracked, truth, sample.scored) * MM,
        "pa_mpjpe_mm": metrics.pa_mpjpe(sample.tracked, truth, sample.scored) * MM,
        "acceleration_error_mm_per_frame2": acceleration * MM,
        "acceleration_error_m_per_s2": acceleration * fps**2,
        "swap_rate": metrics.left_right_swap_rate(sample.tracked_pixels, sample.pixels, sample.scored),
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
    parts = {}
    for word in sorted({word for word in sample.provenance if isinstance(word, str)}):
        frames = sample.provenance == word
        part = _part(replace(sample, scored=sample.scored & frames[:, None]), camera)
        parts[word] = {"frames": int(frames.sum()), "coverage": float(frames.mean()), **part}
    return parts


def _joint_table(sample: Sample, bias: rig_bias.RigBias, camera: Camera) -> pd.DataFrame:
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
    return {**{joint: (bias.offset[INDEX[joint]] * MM).tolist() for joint in known}, "frame": rig_bias.FRAME}


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


def _json_safe(value):
    if isinstance(value, dict):
        return {key: _json_safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_safe(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
