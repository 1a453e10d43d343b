"""What filling is worth: detections of rendered views are hidden, and what takes their place is held against the truth.

    PYTHONPATH=src python benchmarks/damage.py results/ada/front results/ben/left

In each view of a finished run, detections are hidden in several ways. For each length of gap it tells the MPJPE of what
the tracker puts there, by default and when it may not look at the images again, beside two baselines on the same
frames: holding the last pose, and joints on a straight line between the poses on either side (beyond an end: the line
through the last two). All of them are smoothed alike.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import savgol_filter

from pose_factory.config import load
from pose_factory.files import read_json, read_table
from pose_factory.footage import RenderedFrames
from pose_factory.geometry.camera import Camera
from pose_factory.tracking import Backend, make_backend
from pose_factory.tracking.output import smoothly
from pose_factory.tracking.people import Pose
from pose_factory.tracking.session import follow
from pose_factory.tracking.smoothing import DEGREE
from pose_factory.validation.metrics import mean

ENDS, SEEDS = 10, 3
WITHOUT_LOOKING = ["interpolated", "predicted"]


class Damaged:
    """A backend that detects, image by image, what it is given, and can still look."""

    def __init__(self, backend: Backend, detections: Iterable[list[Pose]]) -> None:
        self.joints, self.parametrisation, self.look = backend.joints, backend.parametrisation, backend.look
        self.assemble, self.predict_pose = backend.assemble, backend.predict_pose
        self._detections = iter(detections)

    def detect(self, images) -> list[list[Pose]]:
        return [next(self._detections) for _ in images]


def patterns(frames: list[int], seed: int = 0) -> dict[str, set[int]]:
    """Ways to hide frames, by name: 36 % at random, bursts that leave as much between them, and both ends."""
    inner = frames[1:-1]
    chosen = np.random.default_rng(seed).choice(inner, round(0.36 * len(frames)), replace=False)
    ways = {"random 36 %": set(chosen.tolist())}
    for length in (5, 15, 30):
        gap = max(length, 8)
        starts = range(gap + 3 * seed, len(frames) - length - gap + 1, length + gap)
        ways[f"bursts of {length}"] = {frame for start in starts for frame in frames[start : start + length]}
    ways["both ends"] = set(frames[:ENDS] + frames[-ENDS:])
    return {name: hidden for name, hidden in ways.items() if hidden}


def measure(footage: RenderedFrames, truth: np.ndarray, settings: dict, seed: int = 0) -> pd.DataFrame:
    """A row for every hidden frame and way to hide it: `pattern`, `frame`, `gap` (its length in frames), `beyond` (an
    end), `provenance`, and the MPJPE in millimetres of `ours`, `not_looking`, `hold` and `linear`.

    `truth` (F, J, 3) are the joints that the backend gives, metres, camera axes, relative to the midpoint of the hips;
    NaN where the character has none.
    """
    backend = make_backend(settings, os.cpu_count())
    frames, images = zip(*footage, strict=True)
    found = dict(zip(frames, backend.detect(images), strict=True))
    if not all(found.values()):
        raise SystemExit("Damage is measured on views in which somebody is detected in every frame.")
    parts = []
    for pattern, hidden in patterns(list(frames), seed).items():
        left = [[] if frame in hidden else found[frame] for frame in frames]
        ways = {"ours": settings, "not_looking": settings | {"fill": settings["fill"] | {"order": WITHOUT_LOOKING}}}
        tracks = {}
        for name, way in ways.items():
            damaged = Damaged(backend, left)
            followed = smoothly(follow(footage, damaged, way), footage, damaged, way)
            tracks[name] = max(followed.tracks.values(), key=len)
        seen = np.array([frame for frame in frames if frame not in hidden])
        known = np.array([found[frame][0].joints for frame in seen])
        rows = np.searchsorted(frames, sorted(hidden))
        at = np.array(frames)[rows]
        placed = {name: _at(track, at) for name, track in tracks.items()}
        for name, fill in {"hold": _hold, "linear": _linear}.items():
            whole = np.empty((len(frames), *known.shape[1:]))
            whole[np.searchsorted(frames, seen)], whole[rows] = known, fill(seen, known, at)
            placed[name] = _smooth(whole, footage.fps, settings["smoothing"])[rows]
        after = np.searchsorted(seen, at)
        beyond = (after == 0) | (after == len(seen))
        gap = np.where(beyond, ENDS, seen[np.minimum(after, len(seen) - 1)] - seen[np.maximum(after - 1, 0)] - 1)
        words = tracks["ours"].provenance[np.searchsorted(tracks["ours"].frames, at)]
        errors = {name: 1000 * mean(np.linalg.norm(j - truth[rows], axis=-1), axis=1) for name, j in placed.items()}
        parts.append(
            pd.DataFrame({"pattern": pattern, "frame": at, "gap": gap, "beyond": beyond, "provenance": words, **errors})
        )
    return pd.concat(parts, ignore_index=True)


def camera_truth(labels: pd.DataFrame, camera: Camera, joints: list[str]) -> np.ndarray:
    """(F, J, 3) labelled joints in metres, camera axes, relative to the midpoint of the hips, by frame."""
    world = labels.pivot(index="frame", columns="joint", values=["x", "y", "z"]).reorder_levels([1, 0], axis=1)
    local = np.stack([world[joint][["x", "y", "z"]].to_numpy() for joint in joints], axis=1) @ camera.R.T
    hips = [joints.index("left_hip"), joints.index("right_hip")]
    return local - local[:, hips].mean(axis=1, keepdims=True)


def _at(track, frames: np.ndarray) -> np.ndarray:
    missing = np.setdiff1d(frames, track.frames)
    if len(missing):
        raise SystemExit(f"No pose was put into frames {missing.tolist()}.")
    return track.joints[np.searchsorted(track.frames, frames)]


def _smooth(joints: np.ndarray, fps: float, smoothing: dict) -> np.ndarray:
    """The baselines are smoothed as ours is, as far as positions alone can be."""
    length = min(2 * int(smoothing["window_seconds"] * fps // 2) + 1, len(joints) - (len(joints) + 1) % 2)
    if smoothing["filter"] != "savitzky_golay" or length <= DEGREE + 1:
        return joints
    return savgol_filter(joints, length, DEGREE, axis=0)


def _hold(seen: np.ndarray, known: np.ndarray, at: np.ndarray) -> np.ndarray:
    return known[np.maximum(np.searchsorted(seen, at) - 1, 0)]


def _linear(seen: np.ndarray, known: np.ndarray, at: np.ndarray) -> np.ndarray:
    left = np.clip(np.searchsorted(seen, at) - 1, 0, len(seen) - 2)
    share = ((at - seen[left]) / (seen[left + 1] - seen[left]))[:, None, None]
    return known[left] + share * (known[left + 1] - known[left])


def summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean MPJPE by these columns, and of how many frames."""
    groups = rows.groupby(by)
    table = groups[["ours", "not_looking", "hold", "linear"]].mean()
    table.insert(0, "frames", groups.size())
    return table.round(1)


def main(views: Iterable[str]) -> None:
    settings = load({"characters": {"any": {"anny": {}}}}, Path.cwd())["tracking"]
    joints = make_backend(settings, os.cpu_count()).joints
    parts = []
    for view in map(Path, views):
        facts = read_json(view / "render.json")
        footage = RenderedFrames(view / "frames", facts["frames"], facts["fps"])
        labels = read_table(view / "ground_truth.parquet")
        truth = camera_truth(labels, Camera.from_json(read_json(view / "camera.json")), joints)
        parts += [measure(footage, truth, settings, seed).assign(view=str(view)) for seed in range(SEEDS)]
    rows = pd.concat(parts)
    for by in (["beyond", "gap"], ["pattern"], ["pattern", "provenance"], ["view"]):
        print(summary(rows, by).to_string(), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
