"""The envelope: what its numbers are, on bodies made up for it, and that it is JSON whatever they are."""

import json
import math

import numpy as np
import pytest
from motions import NAMES, SIZE, motion, track

from pose_factory.bodies.anny_body import bare_body
from pose_factory.service import answers
from pose_factory.service.answers import Body3D, Person
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking import camera
from pose_factory.tracking.people import PREDICTED
from pose_factory.tracking.session import Sighting

POSE = track(motion("walk", 3), 0.01).pose(1)
SIGHTING = Sighting(4, 17, POSE, PREDICTED, True)
TRIANGLES = np.array([[0, 1, 2], [2, 1, 3]])
RNG = np.random.default_rng(5)
CAMERA_JOINTS = RNG.normal(0, 0.5, (23, 3)) + [0.3, -0.2, 60]
VERTICES = RNG.normal(0, 0.5, (4, 3)) + [0.3, -0.2, 60]


def envelope(person: Person | None) -> dict:
    told = answers.envelope(17, "mine", SIZE, person, answers.faces(TRIANGLES), "mediapipe anny")
    return json.loads(answers.encode(told))


def test_the_trackers_own_joints_in_canonical_order():
    told = envelope(Person(SIGHTING, NAMES))
    assert [point["name"] for point in told["keypoints"]] == NAMES == [name for name in JOINTS if name in NAMES]
    for row, point in enumerate(told["keypoints"]):
        np.testing.assert_allclose([point["x"], point["y"]], POSE.pixels[row], atol=6e-4)
        assert point["z"] == pytest.approx(POSE.joints[row, 2], abs=6e-6)
        assert point["confidence"] == pytest.approx(POSE.confidence[row], abs=6e-5)
    assert (told["keypoint_count"], told["track_id"], told["source"]) == (21, 4, "predicted")
    assert told["tracking_confidence"] == pytest.approx(POSE.confidence.mean(), abs=6e-5)
    assert (told["frame_number"], told["session_id"], told["has_3d"]) == (17, "mine", False)
    np.testing.assert_allclose(told["camera_translation"], POSE.translation, atol=6e-6)


def test_the_body_is_told_about_its_hips_and_projects_into_the_image():
    hips = CAMERA_JOINTS[[INDEX["left_hip"], INDEX["right_hip"]]].mean(axis=0)
    told = envelope(Person(SIGHTING, NAMES, Body3D.about_hips(CAMERA_JOINTS, VERTICES)))
    np.testing.assert_allclose(told["joints_3d_raw"], CAMERA_JOINTS - hips, atol=6e-6)
    np.testing.assert_allclose(told["mesh_vertices_data"], VERTICES - hips, atol=6e-5)
    np.testing.assert_allclose(told["camera_translation"], hips, atol=6e-6)
    assert told["mesh_faces_data"] == TRIANGLES.tolist()
    assert (told["mesh_vertices"], told["has_3d"], told["keypoint_count"]) == (4, True, 23)
    assert told["focal_length"] == camera.focal_length(*SIZE)
    for name in ("spine", "head_top"):  # which the tracker does not give
        x, y, depth = CAMERA_JOINTS[INDEX[name]]
        point = told["keypoints"][INDEX[name]]
        assert point["name"] == name
        focal = told["focal_length"]
        np.testing.assert_allclose(
            [point["x"], point["y"]], [focal * x / depth + 320, focal * y / depth + 240], atol=6e-4
        )
        assert point["z"] == pytest.approx(depth - hips[2], abs=6e-6)
        assert point["confidence"] == told["tracking_confidence"]


def test_angles_are_in_degrees_and_those_without_a_meaning_left_out():
    joints = CAMERA_JOINTS.copy()
    knee = joints[INDEX["left_knee"]]
    joints[INDEX["left_hip"]], joints[INDEX["left_ankle"]] = knee + [0, -0.4, 0], knee + [0.4, 0, 0]
    joints[INDEX["right_wrist"]] = joints[INDEX["right_elbow"]]
    angles = envelope(Person(SIGHTING, NAMES, Body3D.about_hips(joints, VERTICES)))["joint_angles_3d"]
    assert angles["left_knee"] == 90.0
    assert "right_elbow" not in angles and "left_elbow" in angles
    assert all(0 <= angle <= 180 for angle in angles.values())


def test_a_whole_mesh_is_short_enough():
    body = bare_body()
    about = Body3D.about_hips(CAMERA_JOINTS, body.vertices)
    told = answers.envelope(0, "mine", SIZE, Person(SIGHTING, NAMES, about), answers.faces(body.faces), "any")
    encoded = answers.encode(told)
    assert len(encoded) < 1_000_000
    np.testing.assert_allclose(json.loads(encoded)["mesh_vertices_data"], about.vertices, atol=6e-5)


def test_numbers_that_json_does_not_have_are_null():
    assert json.loads(answers.encode({"a": math.nan, "b": np.array([math.inf, 1.5])})) == {"a": None, "b": [None, 1.5]}


def test_failures():
    assert json.loads(answers.failure(3, "It is so.")) == {"frame_number": 3, "error": "It is so."}
    assert json.loads(answers.failure(None, "It is so.")) == {"frame_number": None, "error": "It is so."}
