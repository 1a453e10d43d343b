"""Scores of fitted bodies on closed forms: bodies that are wrong in a known way, and the true body of a character."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation
from synthetic_person import boxes, camera, labels, tracks, walk

from pose_factory.bodies.anny_body import bare_body, described_body, skin
from pose_factory.bodies.motion import animate, forward_kinematics
from pose_factory.errors import PoseFactoryError
from pose_factory.export.recording import Recording, read_recording
from pose_factory.files import read_json, read_table
from pose_factory.fitting.fitted import joint_bones
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import EDGES, INDEX, JOINTS
from pose_factory.validation import body_fit_report, metrics

FRAMES, FPS = 20, 25.0
WORLD = walk(FRAMES)
AT = camera(45)
GIVEN = [joint for joint in JOINTS if joint not in ("spine", "head_top")]
"""The joints that the tracker gives."""


@dataclass
class Fitted:
    """What is scored of a fitted body: `points` (N, 23, 3) and `surface` (N, V, 3) in camera axes, metres."""

    frames: np.ndarray
    points: np.ndarray
    surface: np.ndarray

    def __getitem__(self, rows):
        return Fitted(self.frames[rows], self.points[rows], self.surface[rows])

    def joints(self):
        return self.points

    def vertices(self):
        return self.surface


def body(world, frames=None) -> Fitted:
    """One with joints at `world`, and with a tetrahedron around each for a surface."""
    points = AT.to_camera(world)
    corners = 0.05 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    surface = (points[:, :, None] + corners).reshape(len(points), -1, 3)
    return Fitted(np.arange(1, len(world) + 1) if frames is None else frames, points, surface)


def score(bodies, table=None, true_bodies=None, world=WORLD) -> dict:
    table = tracks(world, AT) if table is None else table
    table = table[table.joint.isin(GIVEN)]
    result = body_fit_report.score(bodies, labels(world, AT), boxes(world, AT), table, GIVEN, AT, FPS, true_bodies)
    json.dumps(result, allow_nan=False)
    return result


def shifted(world, joint: str, by) -> np.ndarray:
    return world + np.where(np.arange(len(JOINTS))[:, None] == INDEX[joint], by, 0.0)


def test_a_perfect_fit_scores_nothing():
    result = score({1: body(WORLD)}, true_bodies={0: body(WORLD)})
    assert result["frames"] == FRAMES
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "mpjpe_all_joints_mm", "vertex_error_mm", "pa_vertex_error_mm"):
        assert result["fit"][name] == pytest.approx(0, abs=1e-6), name
    assert result["fit"]["angle_error_degrees"] == pytest.approx(0, abs=1e-4)
    assert result["fit"]["jitter_m_per_s3"] == pytest.approx(result["truth"]["jitter_m_per_s3"])


def test_one_wrong_joint_counts_once_and_in_its_own_row():
    result = score({1: body(shifted(WORLD, "left_wrist", [0.3, 0, 0.4]))})
    assert result["fit"]["mpjpe_mm"] == pytest.approx(500 / len(GIVEN))
    assert result["fit"]["mpjpe_all_joints_mm"] == pytest.approx(500 / len(JOINTS))
    assert result["landmarks"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert result["by_joint"]["left_wrist"]["fit_mm"] == pytest.approx(500)
    assert result["by_joint"]["right_wrist"]["fit_mm"] == pytest.approx(0, abs=1e-6)
    assert set(result["by_joint"]) == set(GIVEN)
    assert result["fit"]["vertex_error_mm"] is None


def test_a_joint_that_the_tracker_lacks_is_scored_for_the_fit_alone():
    result = score({1: body(shifted(WORLD, "head_top", [0, 0, 0.23]))})
    assert result["fit"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert result["fit"]["mpjpe_all_joints_mm"] == pytest.approx(10)


def test_the_ratio_is_of_the_same_joints_and_frames():
    """Landmarks off by 100 mm in the wrist, the fit by 25 mm; and landmarks in frames without a body do not count."""
    table = tracks(shifted(WORLD, "left_wrist", [0.1, 0, 0]), AT)
    far = table.frame > FRAMES // 2
    table.loc[far & (table.joint == "left_ankle"), "x"] += 5.0
    kept = FRAMES // 2
    fit = body(shifted(WORLD, "left_wrist", [0.025, 0, 0])[:kept])
    result = score({1: fit}, table)
    assert result["frames"] == kept
    assert result["landmarks"]["mpjpe_mm"] == pytest.approx(100 / len(GIVEN))
    assert result["ratio"]["mpjpe_mm"] == pytest.approx(0.25)


def test_turning_growing_and_moving_is_no_error_of_the_pose():
    turn = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
    moved = body(WORLD)
    moved.points, moved.surface = (1.2 * points @ turn.T + [3, 2, 1] for points in (moved.points, moved.surface))
    result = score({1: moved}, true_bodies={0: body(WORLD)})
    assert result["fit"]["mpjpe_mm"] > 50 and result["fit"]["vertex_error_mm"] > 50
    assert result["fit"]["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert result["fit"]["pa_vertex_error_mm"] == pytest.approx(0, abs=1e-6)


def test_vertices_are_laid_hip_on_hip():
    """Moved as a whole it is right; a surface of twice the size is off by its own distance from the hips."""
    found, true = body(WORLD + [0.7, 0, 0]), body(WORLD)
    frames = true.frames
    np.testing.assert_allclose(body_fit_report.vertex_errors(found, true, frames)[0], 0, atol=1e-9)
    hips = true.points[:, metrics.HIPS].mean(axis=1, keepdims=True)
    found = Fitted(frames, true.points, hips + 2 * (true.surface - hips))
    plain, aligned = body_fit_report.vertex_errors(found, true, frames[3:])
    np.testing.assert_allclose(plain, np.linalg.norm(true.surface - hips, axis=-1).mean(-1)[3:])
    np.testing.assert_allclose(aligned, 0, atol=1e-9)


def test_each_person_is_scored_on_the_body_of_their_track():
    table = tracks(WORLD, AT, track_id=7)
    result = score({3: body(WORLD + np.random.default_rng(0).normal(0, 0.1, WORLD.shape)), 7: body(WORLD)}, table)
    assert result["fit"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    nobody = score({3: body(WORLD)}, table)
    assert nobody["frames"] == 0 and nobody["fit"]["mpjpe_mm"] is None and nobody["ratio"]["mpjpe_mm"] is None


def test_angles():
    """A right angle at the knee that is said to be straight is 90 degrees off, and no other joint is."""
    bent, straight = np.repeat(WORLD[:1], 2, axis=0), np.repeat(WORLD[:1], 2, axis=0)
    hip, knee, ankle = (INDEX[f"left_{joint}"] for joint in ("hip", "knee", "ankle"))
    foot = INDEX["left_foot"]
    thigh = bent[:, knee] - bent[:, hip]
    across = np.cross(thigh, [1.0, 0.0, 0.0])
    across *= 0.4 / np.linalg.norm(across, axis=-1, keepdims=True)
    to_foot = bent[:, foot] - bent[:, ankle]
    for pose, shin in ((bent, across), (straight, 0.9 * thigh)):
        pose[:, ankle] = pose[:, knee] + shin
        pose[:, foot] = pose[:, ankle] + to_foot
    errors = body_fit_report.angle_errors(straight, bent)
    np.testing.assert_allclose(errors["left_knee"], 90, atol=1e-6)
    np.testing.assert_allclose(
        [errors[name] for name in errors if name not in ("left_knee", "left_ankle")], 0, atol=1e-6
    )


def test_bones_that_breathe():
    """One bone of 1 m +- 0.1 m deviates by 0.1 m, the others not at all; a mask leaves it out."""
    points = np.repeat(WORLD[:1], 6, axis=0)
    toe, ankle = INDEX["left_foot"], INDEX["left_ankle"]
    length = 1 + 0.1 * np.array([1, -1, 1, -1, 1, -1])
    points[:, toe] = points[:, ankle] + length[:, None] * [1, 0, 0]
    bones = [edge for edge in EDGES if "left_foot" in edge]
    assert len(bones) == 1
    assert body_fit_report.bone_length_deviation(points) == pytest.approx(0.1 / len(EDGES))
    mask = np.ones(points.shape[:2], bool)
    mask[:, toe] = False
    assert body_fit_report.bone_length_deviation(points, mask) == pytest.approx(0, abs=1e-12)


def test_jitter_is_that_of_a_cubic():
    """A wrist at t^3 / 6 metres has a jerk of 1 m/s^3, everything else rests."""
    time = np.arange(FRAMES) / FPS
    still = np.repeat(WORLD[:1], FRAMES, axis=0)
    result = score({1: body(shifted(still, "left_wrist", np.outer(time**3 / 6, [1, 0, 0])[:, None]))}, world=still)
    assert result["fit"]["jitter_m_per_s3"] == pytest.approx(1 / len(GIVEN), rel=1e-6)
    assert result["truth"]["jitter_m_per_s3"] == pytest.approx(0, abs=1e-6)


# ---- the true body of a character ----------------------------------------------------------------------------------

ANNY = {"phenotype": {"gender": 1.0, "age": 0.4, "weight": 0.8}, "motion": "dance", "frames": 30, "fps": 12}
ANNY |= {"local": {"upperlegs-height-decr-incr": 0.8}, "look": {"legs": "short"}}
FLOOR = np.array([0.0, 0.0, 0.0123])
"""What the workflow has moved the character by."""


def recorded(motion: str) -> Recording:
    """ANNY in one of the motions."""
    dressed = described_body(ANNY)
    turns, places = forward_kinematics(dressed, animate(motion, dressed, 30, 12))
    joints = np.full((30, len(JOINTS), 3), np.nan)
    return Recording(dressed.bones, dressed.parents, dressed.heads, dressed.tails, turns, places, joints)


@pytest.fixture(scope="module")
def danced() -> tuple[np.ndarray, pd.DataFrame]:
    """Of ANNY in the world: bare vertices (30, V, 3), and the labels of what has a bone, in frames 1, 4, 7, ..."""
    dressed = described_body(ANNY)
    recording = recorded("dance")
    rotations, heads = recording.turns, recording.places
    world = np.full((30, len(JOINTS), 3), 5.0)
    for joint, bone in joint_bones().items():
        world[:, INDEX[joint]] = heads[:, dressed.bones.index(bone)] + FLOOR
    frames = np.arange(1, 31, 3)
    bare = bare_body(ANNY["phenotype"], ANNY["local"])
    return skin(bare, rotations, heads) + FLOOR, labels(world[frames - 1], AT, frames)


def test_the_true_body_is_the_one_that_was_rendered(danced):
    vertices, table = danced
    true = body_fit_report.true_body(ANNY, recorded("dance"), 1, table, AT)
    assert true.frames.tolist() == list(range(1, 31, 3))
    np.testing.assert_allclose(true.vertices(), AT.to_camera(vertices[true.frames - 1]), atol=1e-6)


def test_labels_of_another_body_are_refused(danced):
    _, table = danced
    with pytest.raises(PoseFactoryError, match="off the body that the character is said to be"):
        body_fit_report.true_body({**ANNY, "phenotype": {}}, recorded("dance"), 1, table, AT)
    with pytest.raises(PoseFactoryError, match="off the body"):
        body_fit_report.true_body({**ANNY, "local": {}}, recorded("dance"), 1, table, AT)
    with pytest.raises(PoseFactoryError, match="off the body"):
        body_fit_report.true_body(ANNY, recorded("walk"), 1, table, AT)


def test_it_is_blenders_to_less_than_a_millimetre(person_view):
    """`true_body` refuses labels of bones that are off; the face is as near, and hair is above the top of the head."""
    at = Camera.from_json(read_json(person_view / "camera.json"))
    table = read_table(person_view / "ground_truth.parquet")
    eve = {"phenotype": {"gender": 1.0, "age": 0.67}}
    true = body_fit_report.true_body(eve, *read_recording(person_view.parent / "motion.npz", 0)[:2], table, at)
    labelled = table.pivot(index="frame", columns="joint", values=["x", "y", "z"])
    labelled = at.to_camera(np.stack([labelled[axis][JOINTS].to_numpy() for axis in "xyz"], axis=-1))
    apart = np.linalg.norm(true.joints() - labelled, axis=-1).max(axis=0)
    assert np.delete(apart, INDEX["head_top"]).max() < 1e-3
    assert 0 < apart[INDEX["head_top"]] < 0.03
