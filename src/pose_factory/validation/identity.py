"""Who is who over time: IDF1, CLEAR MOT and HOTA of tracks against labelled people.

A person and a tracked pose are the same in a frame when they are similar enough: MOT's overlap of boxes is here the
object keypoint similarity (OKS), since the joints are known exactly, and MOT's least overlap of 0.5 is COCO's OKS of
0.5. Shapes: F frames, P people, D tracked poses, one for each frame and track, sorted by frame.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

MIN_SIMILARITY = 0.5
"""The least OKS of a person found, for all but HOTA, which is a mean over ALPHAS."""
ALPHAS = np.arange(1, 20) / 20
ROUNDING = 1e-9  # a similarity that equals an alpha but for rounding reaches it

COUNTS = {  # ours: motmetrics'
    "objects": "num_objects",
    "switches": "num_switches",
    "fragmentations": "num_fragmentations",
    "false_positives": "num_false_positives",
    "misses": "num_misses",
}
RATIOS = ("idf1", "idp", "idr", "mota")


def identity_scores(similarity, frame, track, present) -> dict[str, float]:
    """How well tracks keep people apart, from 0 to 1 (`mota` may be below 0) and as counts.

    `similarity` (D, P) is each tracked pose's with each person, in [0, 1]; `frame` (D,) its row in `present`, never
    decreasing; `track` (D,) its track's id. `present` (F, P) says which people are to be found; leave out the poses of
    those that need not be, or they are false positives.

    - `idf1`, `idp`, `idr` (Ristani et al., 2016): F1, precision and recall of poses under the best one-to-one
      assignment of tracks to people for the whole view;
    - `mota`, `motp` (Bernardin & Stiefelhagen, 2008): 1 - (misses + false positives + switches) / objects, and the mean
      similarity of those found, as MOTChallenge reports it; `objects`, `misses`, `false_positives`, `switches` (a
      person's track changes) and `fragmentations` (a person is lost and found again) are its counts;
    - `hota`, `det_a`, `ass_a` (Luiten et al., 2021): see `hota`.

    What cannot be measured is NaN: all ratios when nobody is to be found.
    """
    import motmetrics

    accumulator = motmetrics.MOTAccumulator()
    distance = np.where(similarity >= MIN_SIMILARITY, 1.0 - similarity, np.nan)
    people = [np.flatnonzero(row) for row in present]
    for row, (found, poses) in enumerate(zip(people, _by_frame(frame, len(present)), strict=True)):
        accumulator.update(found, track[poses], distance[poses][:, found].T, frameid=row)
    names = [*COUNTS.values(), *RATIOS, "motp"]
    measured = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
    anybody = bool(np.any(present))
    return {
        **{name: float(measured[name]) if anybody else np.nan for name in RATIOS},
        "motp": 1.0 - float(measured["motp"]),
        **{name: int(measured[theirs]) for name, theirs in COUNTS.items()},
        **hota(similarity, frame, track, present),
    }


def hota(similarity, frame, track, present) -> dict[str, float]:
    """Higher order tracking accuracy, arguments as for `identity_scores`: `hota`, and the detection and association
    accuracy that it is the geometric mean of, `det_a` and `ass_a`; each a mean over the similarities ALPHAS that a
    match needs at least.

    Matched as the authors' own evaluation does: for all alphas at once, one to one in each frame, so that the sum of
    similarity times the overlap of person and track over the whole view is largest.
    """
    if not np.any(present):
        return dict.fromkeys(("hota", "det_a", "ass_a"), float("nan"))
    tracks, column = np.unique(track, return_inverse=True)
    similarity = np.where(present[frame], similarity, 0.0)
    groups = _by_frame(frame, len(present))

    overlap = np.zeros((present.shape[1], len(tracks)))
    for poses in groups:
        here = similarity[poses]
        union = here.sum(0) + here.sum(1, keepdims=True) - here
        overlap[:, column[poses]] += np.divide(here, union, out=np.zeros_like(here), where=union > 0).T
    lengths = present.sum(0)[:, None] + np.bincount(column, minlength=len(tracks))
    overlap /= np.maximum(lengths - overlap, 1.0)

    matches = np.zeros((len(ALPHAS), *overlap.shape))
    for row, poses in enumerate(groups):
        found = np.flatnonzero(present[row])
        here = similarity[poses][:, found].T
        of_person, of_pose = linear_sum_assignment(here * overlap[np.ix_(found, column[poses])], maximize=True)
        reached = here[of_person, of_pose] >= ALPHAS[:, None] - ROUNDING
        matches[:, found[of_person], column[poses][of_pose]] += reached

    hits = matches.sum((1, 2))
    det_a = hits / (present.sum() + len(frame) - hits)
    ass_a = (matches**2 / np.maximum(lengths - matches, 1.0)).sum((1, 2)) / np.maximum(hits, 1.0)
    return {
        "hota": float(np.sqrt(det_a * ass_a).mean()),
        "det_a": float(det_a.mean()),
        "ass_a": float(ass_a.mean()),
    }


def _by_frame(frame, frames: int) -> list[np.ndarray]:
    """The indices of the poses of each of the `frames`."""
    return np.split(np.arange(len(frame)), np.searchsorted(frame, np.arange(1, frames)))
