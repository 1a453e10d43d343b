"""What fitting a body is worth: bodies that are known are filmed, tracked and fitted, and held against what they are.

    PYTHONPATH=src python benchmarks/body_fit.py FOLDER [--calibrate]

FOLDER keeps the films, which the workflow makes when they are not there: every one of EVALUATION in every motion, each
from two of the eight angles, so that each body is seen from all of them. With --calibrate it is those of CALIBRATION
that are filmed, and what is measured on them replaces src/pose_factory/fitting/landmarks.json.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path

import body_calibration
import numpy as np
import pandas as pd

from pose_factory.bodies.anny_body import DEFAULT_PHENOTYPE, PHENOTYPES
from pose_factory.config import load
from pose_factory.export.recording import read_recording
from pose_factory.files import read_about, read_json, read_table, write_json
from pose_factory.fitting.fit import LiveFit, fit, fit_all
from pose_factory.fitting.fitted import FittedBody
from pose_factory.fitting.landmarks import FILE
from pose_factory.footage import RenderedFrames
from pose_factory.geometry.camera import Camera
from pose_factory.tracking import Backend, make_backend
from pose_factory.tracking.output import smoothly, tracks_table
from pose_factory.tracking.people import Track
from pose_factory.tracking.reading import read_tracks
from pose_factory.tracking.session import follow
from pose_factory.validation.body_fit_report import score, true_body
from pose_factory.validation.report import pool

FRAMES, SIZE = 24, 256
LONG, VIEWS = 140, 8
MOTIONS = {"walk": 24, "wave": 24, "squat": 12, "dance": 12}
"""And the frames a second at which FRAMES hold whole cycles of it."""
ANGLES = ("front", "front_right", "right", "back_right", "back", "back_left", "left", "front_left")
CALIBRATION = {
    "woman": {"gender": 1.0, "age": 0.62, "muscle": 0.45, "weight": 0.4, "height": 0.45, "proportions": 0.6},
    "man": {"gender": 0.0, "age": 0.67, "muscle": 0.55, "weight": 0.5, "height": 0.4, "proportions": 0.6},
    "child": {"gender": 0.6, "age": 0.33, "muscle": 0.5, "weight": 0.45, "height": 0.5, "proportions": 0.5},
    "heavy_woman": {"gender": 0.9, "age": 0.85, "muscle": 0.4, "weight": 0.85, "height": 0.4, "proportions": 0.3},
}
EVALUATION = {
    "thin_man": {"gender": 0.0, "age": 0.7, "muscle": 0.3, "weight": 0.2, "height": 0.42, "proportions": 0.7},
    "old_woman": {"gender": 1.0, "age": 1.0, "muscle": 0.3, "weight": 0.35, "height": 0.3, "proportions": 0.4},
    "boy": {"gender": 0.1, "age": 0.42, "muscle": 0.4, "weight": 0.5, "height": 0.4, "proportions": 0.5},
    "heavy_man": {"gender": 0.1, "age": 0.8, "muscle": 0.6, "weight": 0.95, "height": 0.42, "proportions": 0.3},
}
LOOKS = (
    {"skin": "#c68863", "hair": "#2b1d14", "top": "#2f6f8f", "bottom": "#2b2f3a", "shoes": "#e8e4da"},
    {"skin": "#e0ac8a", "hair": "#8a8580", "top": "#a8452f", "bottom": "#4a5a3c", "shoes": "#3a2a20"},
    {"skin": "#8d5a3c", "hair": "#1a1410", "top": "#d9c9a3", "bottom": "#39506b", "shoes": "#222222"},
    {"skin": "#f0c8a8", "hair": "#a8772f", "top": "#5b7a4b", "bottom": "#7b6a58", "shoes": "#8f3030"},
)

MEASURES = {
    "mpjpe_mm": "MPJPE, mm",
    "pa_mpjpe_mm": "PA-MPJPE, mm",
    "angle_error_degrees": "joint angles, degrees",
    "bone_length_deviation_mm": "bone lengths, deviation over a film, mm",
    "jitter_m_per_s3": "jitter, m/s^3",
}
"""What landmarks and fits have in common."""
VERTICES = {"vertex_error_mm": "vertices, mm", "pa_vertex_error_mm": "vertices after Procrustes, mm"}

HEAD = f"{'landmarks':>16s}      fit    ratio"


def config(folder: Path, bodies: dict[str, dict]) -> dict:
    """The workflow's config: a character for each of the `bodies` {name: phenotype} in each motion."""
    characters = {
        f"{body}_{motion}": {
            "anny": {
                "phenotype": phenotype,
                "look": LOOKS[index % len(LOOKS)],
                "motion": motion,
                "frames": FRAMES,
                "fps": fps,
            }
        }
        for (index, (body, phenotype)), (motion, fps) in product(enumerate(bodies.items()), MOTIONS.items())
    }
    return {
        "results": str(folder),
        "only": list(characters),
        "characters": characters,
        "cameras": {"resolution": [SIZE, SIZE]},
        "render": {"samples": 1},
    }


def views(bodies: Iterable[str]) -> list[tuple[str, str, str]]:
    """Body, motion and camera angle of each film: opposite angles, others in each motion and for each body."""
    half = len(ANGLES) // 2
    return [
        (body, motion, ANGLES[(row + column) % half + half * back])
        for row, body in enumerate(bodies)
        for column, motion in enumerate(MOTIONS)
        for back in (0, 1)
    ]


def make_films(folder: Path, bodies: dict[str, dict]) -> None:
    """Let the workflow make what is not there: films, labels and tracks."""
    write_json(folder / "config.json", config(folder, bodies))
    made = ("ground_truth.parquet", "tracks.parquet", "../motion.npz")
    targets = [
        os.path.normpath(folder / f"{body}_{motion}" / angle / name)
        for (body, motion, angle), name in product(views(bodies), made)
    ]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "all", "--quiet", "all"]
    subprocess.run([*command, "--configfile", str(folder / "config.json")], cwd=Path(__file__).parents[1], check=True)


@dataclass(frozen=True)
class Film:
    """One view of one body in one motion, at `fps`: what the tracker makes of it, and the truth."""

    body: str
    motion: str
    angle: str
    folder: Path
    fps: float
    ground_truth: pd.DataFrame
    boxes: pd.DataFrame
    tracks: pd.DataFrame
    joints: list[str]
    track_id: int
    track: Track
    camera: Camera
    true_body: FittedBody

    def footage(self) -> RenderedFrames:
        return RenderedFrames(self.folder / "frames", self.true_body.frames.tolist(), self.fps)

    def scores(self, body: FittedBody) -> dict:
        """What `body` got right, if it is what is fitted to the track."""
        tables = self.ground_truth, self.boxes, self.tracks
        return score({self.track_id: body}, *tables, self.joints, self.camera, self.fps, {0: self.true_body})


def read_films(folder: Path, bodies: dict[str, dict]) -> list[Film]:
    """All films of these bodies; of several tracks, the longest counts."""
    described = config(folder, bodies)["characters"]
    films = []
    for body, motion, angle in views(bodies):
        view = folder / f"{body}_{motion}" / angle
        labels, boxes, tracks, people = (
            read_table(view / f"{name}.parquet") for name in ("ground_truth", "boxes", "tracks", "people")
        )
        joints = read_about(view / "tracks.parquet")["joints"]
        camera = Camera.from_json(read_json(view / "camera.json"))
        found = read_tracks(tracks, people, joints)
        if not found:
            raise SystemExit(f"Nobody was found in {view}, so there is nothing to fit.")
        longest = max(found, key=lambda track_id: len(found[track_id]))
        anny = described[f"{body}_{motion}"]["anny"]
        films.append(
            Film(
                body=body,
                motion=motion,
                angle=angle,
                folder=view,
                fps=anny["fps"],
                ground_truth=labels,
                boxes=boxes,
                tracks=tracks,
                joints=joints,
                track_id=longest,
                track=found[longest],
                camera=camera,
                true_body=true_body(anny, *read_recording(view.parent / "motion.npz", 0)[:2], labels, camera),
            )
        )
    return films


def accuracy(films: Sequence[Film], bodies: Sequence[FittedBody]) -> pd.DataFrame:
    """A row for each film: body, motion, angle, the scores of `landmarks` and `fit`, by joint and by angle of the body;
    columns are (what, whose)."""
    rows = []
    for film, body in zip(films, bodies, strict=True):
        scores = film.scores(body)
        row = {(name, ""): getattr(film, name) for name in ("body", "motion", "angle")}
        row |= {(measure, whose): scores[whose][measure] for measure in MEASURES for whose in ("landmarks", "fit")}
        row |= {(measure, "fit"): scores["fit"][measure] for measure in VERTICES}
        for part, unit in (("by_joint", "mm"), ("by_angle", "degrees")):
            for name, of in scores[part].items():
                row |= {(f"{part} {name}", whose): of[f"{whose}_{unit}"] for whose in ("landmarks", "fit")}
        rows.append(row)
    table = pd.DataFrame(rows)
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def without_rig_bias(films: Sequence[Film], measure: str) -> float:
    """That score of the landmarks, mean over the films, against labels moved to where the tracker has its joints, as is
    known of each character in its own films: what no fit can know."""
    scores = []
    for _, of_character in groupby(films, key=lambda film: film.folder.parent):
        known = {
            film.angle: (film.ground_truth, film.boxes, film.tracks, film.joints, film.camera) for film in of_character
        }
        scores += [view[measure] for view in pool(known, fps=1.0)["without_rig_bias"].values()]
    return float(np.mean(scores))


def causal(film: Film, backend: Backend, settings: dict) -> Film:
    """The same film, tracked from the past alone."""
    footage = film.footage()
    followed = smoothly(follow(footage, backend, settings), footage, backend, settings)
    longest = max(followed.tracks, key=lambda track_id: len(followed.tracks[track_id]))
    return replace(
        film, tracks=tracks_table(followed, backend.joints), track_id=longest, track=followed.tracks[longest]
    )


def live(film: Film) -> FittedBody:
    """The body of a film, each frame from the past alone."""
    fitting = LiveFit(film.joints, film.fps, (film.camera.width, film.camera.height))
    steps = [
        fitting.step(film.track.pose(row), film.track.provenance[row], int(frame))
        for row, frame in enumerate(film.track.frames)
    ]
    return replace(
        steps[-1],
        frames=film.track.frames,
        provenance=film.track.provenance,
        rotations=np.concatenate([step.rotations for step in steps]),
        translation=np.concatenate([step.translation for step in steps]),
    )


def tracking(mode: str = "batch", filter: str = "savitzky_golay") -> dict:
    """The tracker's settings, the default ones but for these."""
    given = {"mode": mode, "smoothing": {"filter": filter}}
    return load({"characters": {"any": {"anny": {}}}, "tracking": given}, Path.cwd())["tracking"]


def stretched(track: Track, frames: int) -> Track:
    """So many frames of a track that goes there and back again."""
    there_and_back = np.r_[: len(track), len(track) - 2 : 0 : -1]
    return replace(track[np.resize(there_and_back, frames)], frames=np.arange(1, frames + 1))


def cpu_seconds(work: Callable, *given) -> float:
    """Of all threads, which other work on the machine changes least."""
    started = time.process_time()
    work(*given)
    return time.process_time() - started


def report_accuracy(films: Sequence[Film], bodies: Sequence[FittedBody]) -> None:
    """Print how the fits compare with the landmarks they were made from, together and taken apart."""
    table = accuracy(films, bodies)
    average = np.full(len(PHENOTYPES), DEFAULT_PHENOTYPE)
    plain = accuracy(films, [replace(body, phenotype=average) for body in bodies])
    settings = tracking(mode="causal", filter="one_euro")
    backend = make_backend(settings, threads=1)
    seen_live = [causal(film, backend, settings) for film in films]
    alive = accuracy(seen_live, [live(film) for film in seen_live])
    print(f"\n{f'{len(films)} films of {FRAMES} frames':40s} {HEAD}      live: {HEAD}")
    for measure, name in MEASURES.items():
        pairs = [of[measure].mean() for of in (table, alive)]
        print(f"{name:40s} " + "          ".join(_pair(pair["landmarks"], pair["fit"]) for pair in pairs))
    print(f"\n{'':40s} {'as labelled':>16s} without rig bias")
    for measure in ("mpjpe_mm", "pa_mpjpe_mm"):
        given, moved = table[measure, "landmarks"].mean(), without_rig_bias(films, measure)
        print(f"{'landmarks, ' + MEASURES[measure]:40s} {_pair(given, moved)}")
    print(f"\n{'':40s} {'average body':>16s}      fit    ratio      live fit")
    for measure, name in VERTICES.items():
        fitted, lively = (of[measure, "fit"].mean() for of in (table, alive))
        print(f"{name:40s} {_pair(plain[measure, 'fit'].mean(), fitted)} {lively:13.1f}")
    for by in ("body", "motion", "angle"):
        print(f"\n{'by ' + by + ': MPJPE, then PA-MPJPE, mm':40s} {HEAD}            {HEAD}")
        for name, rows in table.groupby(by, sort=False):
            pairs = [rows[measure].mean() for measure in ("mpjpe_mm", "pa_mpjpe_mm")]
            print(f"{name:40s} " + "          ".join(_pair(pair["landmarks"], pair["fit"]) for pair in pairs))
    for part, what in (("by_joint", "MPJPE, mm"), ("by_angle", "joint angle, degrees")):
        print(f"\n{what:40s} {HEAD}")
        for name in dict.fromkeys(name for name, _ in table.columns if name.startswith(part)):
            pair = table[name].mean()
            print(f"{name.removeprefix(part + ' '):40s} {_pair(pair['landmarks'], pair['fit'])}")


def _pair(given: float, fitted: float) -> str:
    return f"{given:16.1f} {fitted:8.1f} {fitted / given:8.2f}"


def report_time(films: Sequence[Film]) -> None:
    """Print what a fit costs: of all views together and one by one, and live beside the detection it waits for."""
    film = films[0]
    size = film.camera.width, film.camera.height
    tracks = [stretched(each.track, LONG) for each in films[:VIEWS]]
    together = cpu_seconds(fit_all, tracks, film.joints, film.fps, size)
    apart = cpu_seconds(lambda: [fit(track, film.joints, film.fps, size) for track in tracks])
    backend = make_backend(tracking(), threads=1)
    images = [image for _, image in film.footage()]
    backend.detect(images[:2])  # warm up
    detection = np.median([cpu_seconds(backend.detect, [image]) for image in images])
    fitting = LiveFit(film.joints, film.fps, size)
    track = tracks[0]
    steps = [
        cpu_seconds(fitting.step, track.pose(row), track.provenance[row], int(track.frames[row])) for row in range(LONG)
    ]
    milliseconds = 1000 / (LONG * VIEWS)
    print(f"\nCPU ms a frame, {VIEWS} views of {LONG} frames       ratio")
    print(f"  one view at a time      {apart * milliseconds:8.2f}")
    print(f"  all views in one call   {together * milliseconds:8.2f} {together / apart:12.2f}")
    print(f"  detection, median       {1000 * detection:8.2f}")
    print(f"  live step, median       {1000 * np.median(steps):8.2f} {np.median(steps) / detection:12.2f}")
    print(
        f"  live step, 95 of 100    {1000 * np.quantile(steps, 0.95):8.2f} {np.quantile(steps, 0.95) / detection:12.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the films are or will be")
    parser.add_argument("--calibrate", action="store_true", help="measure where the tracker's joints are on the body")
    arguments = parser.parse_args()
    folder, bodies = arguments.folder.resolve(), CALIBRATION if arguments.calibrate else EVALUATION
    make_films(folder, bodies)
    films = read_films(folder, bodies)
    if arguments.calibrate:
        known = [(film.track, film.true_body, film.camera) for film in films]
        measured = body_calibration.calibrate(known, films[0].joints)
        write_json(FILE, {"about": body_calibration.ABOUT, "joints": measured})
        print(f"Measured on {len(films)} films: {FILE}")
        return
    size = films[0].camera.width, films[0].camera.height
    bodies = [fit(film.track, film.joints, film.fps, size) for film in films]
    report_accuracy(films, bodies)
    report_time(films)


if __name__ == "__main__":
    main()
