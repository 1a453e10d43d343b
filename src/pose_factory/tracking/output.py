"""Tracking from footage to files: the tables tracks and people, and the report of coverage, misses and coherence."""

from collections.abc import Container
from dataclasses import asdict, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from pose_factory import tables
from pose_factory.files import json_safe, write_json, write_table
from pose_factory.footage import Footage
from pose_factory.tracking import COLUMNS, Backend, coherence, make_backend
from pose_factory.tracking.people import DETECTED, PROVENANCES, Track
from pose_factory.tracking.session import Followed, follow
from pose_factory.tracking.smoothing import smooth

PEOPLE_COLUMNS = {
    "frame": "int32",
    "track_id": "int32",
    "provenance": "str",
    "reason": "str",
    "score": "float64",
    **dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), "float64"),
    **dict.fromkeys(("translation_x", "translation_y", "translation_z"), "float64"),
    "rotations": "object",
    "shape": "object",
}


class Outputs(Protocol):
    """Where to write."""

    tracks: str | Path
    people: str | Path
    report: str | Path


def track(footage: Footage, settings: dict, outputs: Outputs, threads: int) -> None:
    """Track everybody in `footage` as the config's `tracking` section says, with so many threads, and write what comes
    of it."""
    backend = make_backend(settings, threads)
    followed = follow(footage, backend, settings)
    smoothed = smoothly(followed, footage, backend, settings)
    about = {"joints": backend.joints, "backend": settings["backend"]}
    write_table(outputs.tracks, tracks_table(smoothed, backend.joints), tables.TRACKS | about)
    write_table(outputs.people, people_table(smoothed), tables.PEOPLE | about | {"pose": backend.parametrisation})
    write_json(outputs.report, report(followed, smoothed, footage.fps))


def smoothly(followed: Followed, footage: Footage, backend: Backend, settings: dict) -> Followed:
    """The same with all tracks smoothed as the config's `tracking` section says."""
    step = min((after - before for before, after in pairwise(followed.frames)), default=1)
    tracks = {
        track_id: smooth(track, footage.fps, settings["smoothing"], backend.assemble, footage.size, step)
        for track_id, track in followed.tracks.items()
    }
    return replace(followed, tracks=tracks)


def tracks_table(followed: Followed, joints: list[str]) -> pd.DataFrame:
    """The content of tracks.parquet, sorted by frame, track and joint; `joints` are the backend's."""
    count = len(joints)
    parts = [
        pd.DataFrame(
            {
                "frame": np.repeat(track.frames, count),
                "track_id": track_id,
                "joint": joints * len(track),
                **dict(zip("uv", track.pixels.reshape(-1, 2).T, strict=True)),
                **dict(zip("xyz", track.joints.reshape(-1, 3).T, strict=True)),
                "confidence": track.confidence.ravel(),
                "provenance": np.repeat(track.provenance, count),
            }
        )
        for track_id, track in followed.tracks.items()
    ]
    return _sorted(parts, COLUMNS)


def people_table(followed: Followed) -> pd.DataFrame:
    """The content of people.parquet: what the joints do not tell of everybody in every frame."""
    parts = []
    for track_id, track in followed.tracks.items():
        vectors = Rotation.from_matrix(track.rotations.reshape(-1, 3, 3)).as_rotvec().reshape(len(track), -1)
        parts.append(
            pd.DataFrame(
                {
                    "frame": track.frames,
                    "track_id": track_id,
                    "provenance": track.provenance,
                    "reason": [followed.reasons[track_id].get(int(frame), "") for frame in track.frames],
                    "score": track.score,
                    **dict(zip(("x_min", "y_min", "x_max", "y_max"), track.box.T, strict=True)),
                    **dict(zip(("translation_x", "translation_y", "translation_z"), track.translation.T, strict=True)),
                    "rotations": list(vectors),
                    "shape": list(track.shape),
                }
            )
        )
    return _sorted(parts, PEOPLE_COLUMNS)


def report(followed: Followed, smoothed: Followed, fps: float) -> dict:
    """The content of tracking.json: `followed` before smoothing and after it, at `fps` frame numbers a second."""
    posed = {int(frame) for track in smoothed.tracks.values() for frame in track.frames}
    seen = {int(f) for track in smoothed.tracks.values() for f in track.frames[track.provenance == DETECTED]}
    return {
        "frames": len(followed.frames),
        "fps": fps,
        "coverage": len(posed) / len(followed.frames),
        "detected_coverage": len(seen) / len(followed.frames),
        "frames_without_pose": sorted(set(followed.frames) - posed),
        "tracks": [
            _of_track(
                track_id,
                followed.tracks[track_id],
                track,
                _runs(followed.frames, followed.reasons[track_id]),
                followed.reasons[track_id],
                fps,
            )
            for track_id, track in smoothed.tracks.items()
        ],
    }


def _of_track(track_id: int, before: Track, after: Track, missed: list[list[int]], reasons: dict, fps: float) -> dict:
    words, counts = np.unique(list(reasons.values()), return_counts=True)
    return {
        "track_id": track_id,
        "first_frame": int(after.frames[0]),
        "last_frame": int(after.frames[-1]),
        "frames": len(after),
        "by_provenance": {word: int((after.provenance == word).sum()) for word in PROVENANCES},
        "missed": dict(zip(words.tolist(), counts.tolist(), strict=True)),
        "missed_runs": missed,
        "before_smoothing": _coherence(before, fps),
        "after_smoothing": _coherence(after, fps),
        "breaks": [asdict(found) for found in coherence.breaks(before, fps)],
    }


def _coherence(track: Track, fps: float) -> dict[str, float | None]:
    measured = {
        "jitter_m_per_s3": coherence.jitter(track.joints, track.frames, fps),
        "acceleration_m_per_s2": coherence.acceleration(track.joints, track.frames, fps),
    }
    return json_safe(measured)


def _runs(frames: list[int], missed: Container[int]) -> list[list[int]]:
    """First and last of each run of `frames` that follow each other and are among those `missed`."""
    runs = [list(run) for is_missed, run in groupby(frames, lambda frame: frame in missed) if is_missed]
    return [[run[0], run[-1]] for run in runs]


def _sorted(parts: list[pd.DataFrame], columns: dict[str, str]) -> pd.DataFrame:
    table = pd.concat(parts) if parts else pd.DataFrame(columns=list(columns))
    return table.astype(columns).sort_values(["frame", "track_id"], kind="stable", ignore_index=True)
