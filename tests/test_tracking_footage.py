"""The default tracker on real footage: a rendered person as a film, live, and two people who pass each other."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pose_factory.config import load
from pose_factory.files import read_json, read_table
from pose_factory.footage import Video
from pose_factory.tracking import make_backend, output
from pose_factory.tracking.people import DETECTED
from pose_factory.tracking.session import Follower, follow
from workflow import Workflow

SETTINGS = load({"characters": {"any": {"anny": {}}}}, Path())["tracking"]
LIVE = SETTINGS | {"mode": "causal"}


@pytest.fixture(scope="module")
def backend():
    return make_backend(SETTINGS, 2)


def test_a_video_is_tracked_as_its_frames_are(person_film, backend, tmp_path):
    path = tmp_path / "a film with spaces.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), person_film.fps, person_film.size)
    for _, image in person_film:
        writer.write(image[..., ::-1])
    writer.release()
    outputs = SimpleNamespace(tracks=tmp_path / "t.parquet", people=tmp_path / "p.parquet", report=tmp_path / "r.json")
    output.track(Video(path), SETTINGS, outputs, 2)
    report = read_json(outputs.report)
    assert (report["frames"], report["coverage"], len(report["tracks"])) == (48, 1.0, 1)
    (track,) = follow(person_film, backend, SETTINGS).tracks.values()
    pixels = read_table(outputs.tracks)[["u", "v"]].to_numpy().reshape(track.pixels.shape)
    assert np.median(np.linalg.norm(pixels - track.pixels, axis=-1)) < 2  # lossy, and smoothed


def test_live_frame_by_frame_is_the_same_as_live_in_one_go(person_film, backend):
    (whole,) = follow(person_film, backend, LIVE).tracks.values()
    follower = Follower(backend, LIVE, person_film.size)
    for row, (frame, image) in enumerate(person_film):
        (sighting,) = follower.step(frame, image, backend.detect([image])[0])
        assert (sighting.frame, sighting.provenance) == (frame, whole.provenance[row])
        np.testing.assert_array_equal(sighting.pose.joints, whole.joints[row])


def test_smoothing_makes_motion_steadier(person_film, tmp_path):
    outputs = SimpleNamespace(tracks=tmp_path / "t.parquet", people=tmp_path / "p.parquet", report=tmp_path / "r.json")
    output.track(person_film, SETTINGS, outputs, 2)
    (track,) = read_json(outputs.report)["tracks"]
    before, after = (track[f"{when}_smoothing"]["jitter_m_per_s3"] for when in ("before", "after"))
    assert after < 0.5 * before


def test_two_people_who_pass_each_other_stay_themselves(tmp_path):
    """From the side, as the config defines it, to the scores of identity against exact labels."""
    clothes = {"top": "#a8452f", "bottom": "#4a5a3c"}
    bodies = {"ada": {}, "ben": {"look": clothes, "phenotype": {"gender": 0.0}}}
    walkers = {name: {"anny": {"motion": "walk", "frames": 24, "fps": 24, **body}} for name, body in bodies.items()}
    people = [
        {"character": "ada", "from": [-0.5, 0.4], "to": [0.5, 0.4]},
        {"character": "ben", "from": [0.5, -0.4], "to": [-0.5, -0.4]},
    ]
    workflow = Workflow.new(
        tmp_path / "repository",
        {
            "characters": walkers | {"crossing": {"people": people}},
            "only": ["crossing"],
            "cameras": {"resolution": [320, 320], "angles": {"left": 270}},
            "render": {"samples": 4},  # as shipped: in the grain of one, legs that cross are anybody's
        },
    )
    run = workflow.run("--cores", "2", "results/crossing/left/validation.json")
    assert run.status == 0, run.console
    view = workflow.root / "results" / "crossing" / "left"
    scores, tracks = read_json(view / "validation.json"), read_table(view / "tracks.parquet")
    assert set(scores["people"]) == {"0", "1"}
    assert tracks.track_id.nunique() == 2
    assert scores["identity"]["switches"] == 0
    assert scores["identity"]["idf1"] > 0.8  # a pose that is far off counts as no pose of anybody
    assert scores["coverage"] > 0.95
    assert (tracks.provenance == DETECTED).mean() > 0.8
