"""No frame lost, proved by damage: real detections of a rendered view are hidden, and what takes their place is held
against the truth and against holding the last pose and straight lines. (benchmarks/README.md has longer films.)"""

import sys
from pathlib import Path

import numpy as np
import pytest

from pose_factory.config import load
from pose_factory.files import read_json, read_table
from pose_factory.geometry.camera import Camera
from pose_factory.tracking.mediapipe_pose import Backend
from pose_factory.tracking.people import INTERPOLATED, PREDICTED, REDETECTED

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import damage

SETTINGS = load({"characters": {"any": {"anny": {}}}}, Path())["tracking"]


@pytest.fixture(scope="module")
def rows(person_view, person_film):
    labels, camera = read_table(person_view / "ground_truth.parquet"), read_json(person_view / "camera.json")
    truth = damage.camera_truth(labels, Camera.from_json(camera), Backend.joints)
    return damage.measure(person_film, truth, SETTINGS)


def test_every_hidden_frame_has_a_pose_and_says_how_it_came_about(rows, person_film):
    frames = [frame for frame, _ in person_film]
    for pattern, hidden in damage.patterns(frames).items():
        of_pattern = rows[rows.pattern == pattern]
        assert set(of_pattern.frame) == hidden
        assert set(of_pattern.provenance) <= {REDETECTED, INTERPOLATED, PREDICTED}
    assert rows.ours.notna().all()


def test_looking_at_the_real_images_beats_holding_and_straight_lines(rows):
    """By pattern, which for bursts and ends is by length of gap."""
    means = rows.groupby("pattern")[["ours", "hold", "linear"]].mean()
    assert {"random 36 %", "bursts of 5", "bursts of 15", "both ends"} <= set(means.index)
    assert (means.ours < means[["hold", "linear"]].min(axis=1)).all(), means


def test_long_gaps_are_bridged_better_without_looking_too(rows):
    means = rows[rows.gap >= 10][["not_looking", "hold", "linear"]].mean()
    assert means.not_looking < min(means.hold, means.linear)


def test_the_truth_is_seen_by_the_camera(person_view):
    """x grows to the right of the image, where the left hip of somebody who faces the camera is."""
    labels, camera = read_table(person_view / "ground_truth.parquet"), read_json(person_view / "camera.json")
    truth = damage.camera_truth(labels, Camera.from_json(camera), Backend.joints)
    left, nose = (truth[:, Backend.joints.index(joint)] for joint in ("left_hip", "nose"))
    assert left[0, 0] > 0 and (nose[:, 1] < 0).all()
    np.testing.assert_allclose(np.linalg.norm(left, axis=1), np.linalg.norm(left[0]), atol=1e-6)
