"""Pose metrics on plain arrays.

Shapes: F frames, J joints (in canonical order where hips or limbs are named). Pixels are (F, J, 2), positions (F, J, 3)
in metres. NaN means "no prediction" or "not annotated"; `mask` (F, J) says which labelled joints are scored. Scores
(PCK, OKS, AP) count a missing prediction as wrong; errors (MPJPE, acceleration) are means over what was predicted, so
they are only worth something beside `coverage`. Nothing to measure gives NaN, without a warning.
"""

import numpy as np

from pose_factory.skeleton import INDEX

HIPS = (INDEX["left_hip"], INDEX["right_hip"])
LIMBS = [
    [(INDEX[f"left_{joint}"], INDEX[f"right_{joint}"]) for joint in joints]
    for joints in (("elbow", "wrist"), ("knee", "ankle"))
]
SWAP_RATIO = 0.5
OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def mean(values, axis: int | None = None):
    """The mean of the finite `values` along `axis`; NaN where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    return np.where(finite, values, 0.0).sum(axis) / np.where(count, count, np.nan)


def joint_errors(predicted, truth, mask=None) -> np.ndarray:
    """(F, J) distances in the unit of the input; NaN where unpredicted, unannotated or masked out."""
    errors = np.linalg.norm(predicted - truth, axis=-1)
    return errors if mask is None else np.where(mask, errors, np.nan)


def coverage(predicted) -> float:
    """The fraction of frames of `predicted` (F, J, D) in which at least one joint is predicted."""
    return float(mean(np.isfinite(predicted).all(-1).any(-1).astype(float)))


def correct_keypoints(predicted, truth, box_size, mask, threshold: float) -> np.ndarray:
    """(F, J): 1 within `threshold` * `box_size` pixels of the label, 0 if farther or unpredicted, NaN if not scored.

    `box_size` (F,) is the longer side of the person's box in pixels, `threshold` a fraction of it.
    """
    labelled = mask & np.isfinite(truth).all(-1)
    near = joint_errors(predicted, truth) <= threshold * np.asarray(box_size)[:, None]
    return np.where(labelled, near, np.nan)


def pck(predicted, truth, box_size, mask, threshold: float) -> float:
    """The percentage of correct keypoints as a fraction 0..1 (Yang & Ramanan, 2013), over all scored joints."""
    return float(mean(correct_keypoints(predicted, truth, box_size, mask, threshold)))


def oks(predicted, truth, area, mask, sigmas) -> np.ndarray:
    """(F,) object keypoint similarity, 0..1, as COCO has it: the mean over labelled joints of exp(-d^2 / (2 s^2 k^2)).

    `area` (F,) is s^2, the person's silhouette in square pixels; k = 2 * `sigmas` (J,). An unpredicted joint gives 0;
    a frame without a labelled joint gives NaN.
    """
    labelled = mask & np.isfinite(truth).all(-1)
    squared = joint_errors(predicted, truth) ** 2
    exponent = squared / (2 * np.asarray(sigmas)) ** 2 / (np.asarray(area)[:, None] + np.spacing(1)) / 2
    similarity = np.where(np.isnan(squared), 0.0, np.exp(-exponent))
    return mean(np.where(labelled, similarity, np.nan), axis=-1)


def average_precision(similarity, score, people: int) -> dict[str, float]:
    """COCO's AP over OKS 0.50:0.05:0.95 (`ap`), at 0.50 (`ap50`) and 0.75 (`ap75`): mean precision at 101 recalls.

    `similarity` and `score` (D,): each detection's OKS with its own person (no two detections share one; 0 for one that
    is nobody's) and its confidence; `people` is how many labelled people there are, so that those never detected are
    false negatives.
    """
    if people == 0:
        return dict.fromkeys(("ap", "ap50", "ap75"), float("nan"))
    ranked = np.asarray(similarity, float)[np.argsort(-np.asarray(score, float), kind="stable")]
    precisions = np.array([_interpolated_precision(ranked >= threshold, people) for threshold in OKS_THRESHOLDS])
    return {"ap": float(precisions.mean()), "ap50": float(precisions[0]), "ap75": float(precisions[5])}


def _interpolated_precision(hits, people: int) -> float:
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(found / people, RECALLS, side="left")
    return float(np.append(best_from_here, 0.0)[at].mean())


def root_align(points) -> np.ndarray:
    """`points` (..., J, 3) relative to the midpoint of the hips."""
    return points - points[..., HIPS, :].mean(axis=-2, keepdims=True)


def mpjpe(predicted, truth, mask=None) -> float:
    """Mean per-joint position error, metres, each side relative to the midpoint of its hips (Ionescu et al., 2014)."""
    return float(mean(joint_errors(root_align(predicted), root_align(truth), mask)))


def similarity_align(predicted, truth, mask=None) -> np.ndarray:
    """`predicted` (F, J, 3) scaled, rotated and shifted so that each frame is nearest to `truth` (Umeyama, 1991).

    Reflections are excluded. A frame with fewer than three scored joints, or all of them in one place, is NaN.
    """
    used = np.isfinite(predicted).all(-1) & np.isfinite(truth).all(-1)
    used = (used if mask is None else used & mask)[..., None]
    count = used.sum(axis=1, keepdims=True)
    centre_p, centre_t = (
        np.where(used, x, 0.0).sum(1, keepdims=True) / np.maximum(count, 1) for x in (predicted, truth)
    )
    p, t = np.where(used, predicted - centre_p, 0.0), np.where(used, truth - centre_t, 0.0)
    u, singular, vt = np.linalg.svd(t.transpose(0, 2, 1) @ p)
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * signs[:, None, :]) @ vt
    variance = (p**2).sum(axis=(1, 2))
    solvable = (count[:, 0, 0] >= 3) & (variance > 0)
    scale = (singular * signs).sum(-1) / np.where(solvable, variance, np.nan)
    return scale[:, None, None] * (predicted - centre_p) @ rotation.transpose(0, 2, 1) + centre_t


def pa_mpjpe(predicted, truth, mask=None) -> float:
    """MPJPE in metres after `similarity_align` of every frame: the error of the pose alone."""
    return float(mean(joint_errors(similarity_align(predicted, truth, mask), truth, mask)))


def acceleration_error(predicted, truth, frames, mask=None) -> float:
    """Mean distance between predicted and true joint accelerations, metres per frame^2 (Kanazawa et al., 2019).

    Accelerations are second differences of hip-relative positions over three neighbouring `frames` (F,), numbers that
    increase, people put end to end; the smallest increase h is the step, and the differences are divided by h^2. Three
    frames that are not h apart, or not all predicted, are left out. Times fps^2 gives metres per second^2.
    """
    difference = root_align(predicted) - root_align(truth)
    if mask is not None:
        difference = np.where(mask[..., None], difference, np.nan)
    return float(mean(np.linalg.norm(_differences(difference, frames, 2), axis=-1)))


def jitter(points, frames, mask=None) -> float:
    """Mean jerk of the joints of `points` (F, J, 3), metres per frame^3: how much a motion trembles (Yi et al., 2021).

    Jerks are third differences over four neighbouring `frames`, as in `acceleration_error`, divided by h^3; of
    hip-relative positions, since trackers give no others. Times fps^3 gives metres per second^3. True motion has
    jitter, too: compare with it.
    """
    points = root_align(points)
    if mask is not None:
        points = np.where(mask[..., None], points, np.nan)
    return float(mean(np.linalg.norm(_differences(points, frames, 3), axis=-1)))


def _differences(points, frames, order: int) -> np.ndarray:
    """(N, J, 3) differences of that order of `points` (F, J, 3) that are all a step apart, divided by step^order."""
    steps = np.diff(frames)
    if not (steps > 0).any() or len(steps) < order:
        return np.full((0, *points.shape[1:]), np.nan)
    step = steps[steps > 0].min()
    even = np.lib.stride_tricks.sliding_window_view(steps == step, order).all(-1)
    return np.diff(points, n=order, axis=0)[even] / float(step) ** order


def left_right_swap_rate(predicted, truth, mask=None, limbs=LIMBS, ratio: float = SWAP_RATIO) -> float:
    """The fraction of frames in which the tracker took the left arm for the right, or the left leg for the right.

    `predicted` and `truth` are pixels; `limbs` lists, per limb, its pairs of (left, right) joint indices. A limb is
    exchanged in a frame when the summed pixel error of its pairs with left and right exchanged is below `ratio` times
    the sum as predicted; a frame counts once. Pairs are used when both joints are scored and predicted, and frames
    without such a pair are left out. A limb seen edge-on is as near either way, so it is not taken for a swap.
    """
    truth = truth if mask is None else np.where(mask[..., None], truth, np.nan)
    judged = np.zeros(len(truth), bool)
    swapped = np.zeros(len(truth), bool)
    for limb in limbs:
        left, right = np.transpose(limb)
        kept, crossed = (
            joint_errors(predicted[:, left], truth[:, a]) + joint_errors(predicted[:, right], truth[:, b])
            for a, b in ((left, right), (right, left))
        )
        judged |= np.isfinite(kept).any(-1)
        swapped |= np.nansum(crossed, -1) < ratio * np.nansum(kept, -1)
    return float(mean(swapped[judged].astype(float)))
