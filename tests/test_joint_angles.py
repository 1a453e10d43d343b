"""Joint angles: on limbs bent by known angles."""

import numpy as np
import pytest

from pose_factory.geometry.joint_angles import SEGMENTS, joint_angles
from pose_factory.skeleton import INDEX, JOINTS

STANDING = {
    **{f"{side}_{joint}": (sign * x, y, z) for side, sign in (("left", 1), ("right", -1)) for joint, (x, y, z) in {
        "shoulder": (0.2, 0, 1.4), "elbow": (0.2, 0, 1.1), "wrist": (0.2, 0, 0.8),
        "hip": (0.1, 0, 0.9), "knee": (0.1, 0, 0.5), "ankle": (0.1, 0, 0.1), "foot": (0.1, -0.1, 0.1),
    }.items()},
    "pelvis": (0, 0, 0.9), "spine": (0, 0, 1.1), "neck": (0, 0, 1.4), "head_top": (0, 0, 1.7),
}  # fmt: skip


def person(**moved):
    points = np.full((len(JOINTS), 3), np.nan)
    for joint, place in (STANDING | moved).items():
        points[INDEX[joint]] = place
    return points


def turned(angle):
    """(2,) forward and down, of a limb that hangs and is then raised to the front by `angle` degrees."""
    return np.array([0, -np.sin(np.radians(angle)), -np.cos(np.radians(angle))])


def test_standing_upright_is_straight_everywhere_but_in_the_ankles():
    angles = joint_angles(person())
    assert list(angles) == list(SEGMENTS)
    for name, angle in angles.items():
        assert angle == pytest.approx(90 if "ankle" in name else 0, abs=1e-9), name


@pytest.mark.parametrize("angle", [0.001, 37.0, 90.0, 179.999, 180.0])
@pytest.mark.parametrize(
    ("name", "at", "moved"),
    [
        ("left_elbow", "left_elbow", "left_wrist"),
        ("right_knee", "right_knee", "right_ankle"),
        ("left_hip", "left_hip", "left_knee"),
        ("right_shoulder", "right_shoulder", "right_elbow"),
        ("right_ankle", "right_ankle", "right_foot"),
    ],
)
def test_a_limb_bent_by_an_angle_has_that_angle(name, at, moved, angle):
    bent = person(**{moved: np.array(STANDING[at]) + 0.3 * turned(angle)})
    assert joint_angles(bent)[name] == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize(("name", "at", "moved"), [("spine", "spine", "neck"), ("neck", "neck", "head_top")])
def test_a_bent_back_and_neck(name, at, moved):
    bent = person(**{moved: np.array(STANDING[at]) - 0.3 * turned(25)})
    assert joint_angles(bent)[name] == pytest.approx(25)


def test_angles_do_not_depend_on_axes_units_or_order():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(4, 5, len(JOINTS), 3))
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(JOINTS))
    moved = 1000 * points[..., order, :] @ axes + rng.normal(size=3)
    names = [JOINTS[index] for index in order]
    for name, angle in joint_angles(points).items():
        assert angle.shape == (4, 5)
        np.testing.assert_allclose(joint_angles(moved, names)[name], angle, atol=1e-9)


def test_what_has_no_angle_is_nan_and_the_rest_is_not():
    names = [joint for joint in JOINTS if joint not in ("spine", "head_top")]
    points = person()[[INDEX[name] for name in names]]
    points[names.index("left_wrist")] = np.nan
    points[names.index("right_ankle")] = points[names.index("right_knee")]
    angles = joint_angles(points, names)
    undefined = {name for name, angle in angles.items() if np.isnan(angle)}
    assert undefined == {"spine", "neck", "left_elbow", "right_knee", "right_ankle"}
