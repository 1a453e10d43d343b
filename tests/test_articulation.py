"""Joints as rotations and lengths and back: nothing lost, whatever the pose; smooth wherever a body can go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from synthetic_person import rest_pose, walk

from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking.articulation import bones, compose, decompose
from pose_factory.validation.metrics import root_align

MEDIAPIPE = [name for name in JOINTS if name not in ("spine", "head_top")]
TO_CAMERA = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from Blender's axes into those of a camera at the front


def turn(start, end, names=MEDIAPIPE):
    """Degrees that each bone's rotation differs between two poses in Blender's axes."""
    index = [INDEX[name] for name in names]
    both, _ = decompose(np.stack([start, end])[:, index] @ TO_CAMERA.T, names)
    return dict(
        zip(
            ["torso", *bones(names)],
            np.degrees((Rotation.from_matrix(both[0]).inv() * Rotation.from_matrix(both[1])).magnitude()),
            strict=True,
        )
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-9, 0.5]),
    st.sets(st.sampled_from(["spine", "head_top", "left_foot", "pelvis", "left_ear"])),
)
def test_joints_survive_the_round_trip_whatever_they_are(seed, scatter, left_out):
    """Joints on a coarse grid coincide and point the wrong way all the time."""
    rng = np.random.default_rng(seed)
    joints = rng.integers(-1, 2, (3, len(JOINTS), 3)) + scatter * rng.normal(size=(3, len(JOINTS), 3))
    names = [name for name in JOINTS if name not in left_out]
    joints = joints[:, [INDEX[name] for name in names]]
    rotations, lengths = decompose(joints, names)
    hips = joints[:, [names.index("left_hip"), names.index("right_hip")]].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(compose(rotations, lengths, names), joints - hips, atol=1e-9)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-9)
    assert rotations.shape == (3, len(names) + 1, 3, 3) and lengths.shape == (3, len(names) + 1)


@pytest.mark.parametrize("distance", [0.0, 1e-15, 1e-11, 1e-9, 1e-7, 1e-4])
def test_a_bone_that_points_the_wrong_way_is_kept_exactly(distance):
    joints = rest_pose() @ TO_CAMERA.T
    joints[INDEX["left_ankle"]] = joints[INDEX["left_knee"]] * 2 - joints[INDEX["left_hip"]]  # straight: the rest pose
    folded = joints.copy()
    folded[INDEX["left_ankle"]] = joints[INDEX["left_hip"]] + distance * np.array([0.6, 0.0, -0.8])
    for pose in (joints, folded):
        rotations, lengths = decompose(pose, JOINTS)
        np.testing.assert_allclose(compose(rotations, lengths, JOINTS), root_align(pose), atol=1e-12)
        np.testing.assert_allclose(rotations @ rotations.swapaxes(-1, -2) - np.eye(3), 0, atol=1e-12)


def test_a_body_in_one_point_has_no_length_and_is_no_error():
    rotations, lengths = decompose(np.zeros((2, len(JOINTS), 3)), JOINTS)
    assert (lengths == 0).all()
    np.testing.assert_array_equal(compose(rotations, lengths, JOINTS), np.zeros((2, len(JOINTS), 3)))
    np.testing.assert_array_equal(rotations[0, 0], np.diag([1, -1, -1]))  # upright, facing the camera


def test_the_torso_turns_into_camera_axes():
    yaw = Rotation.from_euler("z", 40, degrees=True).as_matrix()
    rotations, lengths = decompose(rest_pose() @ yaw.T @ TO_CAMERA.T, JOINTS)
    facing = TO_CAMERA @ yaw @ np.column_stack([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    np.testing.assert_allclose(rotations[0], facing, atol=1e-12)
    assert lengths[0] == pytest.approx(1.42 - 0.94)
    assert lengths[1 + bones(JOINTS).index("left_wrist")] == pytest.approx(np.linalg.norm([0.04, -0.1, -0.23]))


def test_turning_and_moving_the_whole_body_changes_the_torso_alone():
    body = walk(5)
    rotation = Rotation.from_euler("xyz", [20, -70, 130], degrees=True).as_matrix()
    (before, lengths), (after, same) = decompose(body, JOINTS), decompose(body @ rotation.T + [1, 2, 3], JOINTS)
    np.testing.assert_allclose(after[:, 0], rotation @ before[:, 0], atol=1e-9)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-9)
    np.testing.assert_allclose(same, lengths, atol=1e-9)


def arm(direction, bend):
    """The rest pose with the left upper arm in `direction` and the forearm bent by so many degrees, about x."""
    pose, direction = rest_pose(), np.array(direction) / np.linalg.norm(direction)
    side = np.cross(direction, [0, 0, 1]) if abs(direction[2]) < 0.9 else np.array([1.0, 0, 0])
    fore = Rotation.from_rotvec(np.radians(bend) * side / np.linalg.norm(side)).apply(direction)
    pose[INDEX["left_elbow"]] = pose[INDEX["left_shoulder"]] + 0.3 * direction
    pose[INDEX["left_wrist"]] = pose[INDEX["left_elbow"]] + 0.25 * fore
    return pose


@pytest.mark.parametrize(
    "direction", [[0.1, 0, -1], [0, -1, 0], [0.1, 0, 1], [1, 0, 0], [-0.6, -0.8, 0], [0.3, 0.9, -0.2]]
)
@pytest.mark.parametrize("bend", [0, 90, 150])
def test_rotations_change_little_where_arms_go(direction, bend):
    """Hanging, to the front, overhead, sideways, across the chest, back; straight to fully bent."""
    step = np.radians(1) * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    start = arm(direction, bend)
    for change in step:
        end = arm(np.array(direction) + change * np.linalg.norm(direction), bend)
        turned = turn(start, end)
        assert max(turned.values()) < 15
        assert turned["torso"] == turned["left_knee"] == 0


@pytest.mark.parametrize("lacking", ["left_hip", "right_shoulder", "left_knee", "nose"])
def test_a_joint_that_others_hang_on_must_be_there(lacking):
    names = [name for name in JOINTS if name != lacking]
    with pytest.raises(PoseFactoryError, match=f"lacks {lacking}"):
        decompose(np.zeros((1, len(names), 3)), names)


def test_joints_that_are_not_finite_are_refused():
    joints = walk(2)
    joints[1, 3, 2] = np.nan
    with pytest.raises(PoseFactoryError, match="not finite"):
        decompose(joints, JOINTS)
