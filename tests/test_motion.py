"""Motions on real bodies: bones keep their length, feet stay on the floor and in place, joints bend the right way."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pose_factory.bodies.anny_body import SIDES, build_body, skin
from pose_factory.bodies.motion import STANDING, animate, forward_kinematics
from pose_factory.errors import PoseFactoryError

PHENOTYPES = {"child": {"age": 0.3}, "heavy": {"age": 0.8, "weight": 1.0, "gender": 0.1, "muscle": 0.2}}
FRAMES, FPS = 24, 20


@pytest.fixture(scope="module", params=PHENOTYPES)
def body(request):
    return build_body(PHENOTYPES[request.param])


@pytest.fixture(scope="module", params=STANDING)
def posed(request, body):
    motion = animate(request.param, body, FRAMES, FPS)
    rotations, heads = forward_kinematics(body, motion)
    return request.param, body, motion, rotations, heads, skin(body, rotations, heads)


def joint(body, heads, name):
    return heads[:, body.bone(name)]


def bend(first, middle, last):
    """Degrees away from straight, frame by frame."""
    before, after = middle - first, last - middle
    cosine = np.sum(before * after, -1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    return np.degrees(np.arccos(cosine))


def share(body, *parts):
    """(V,) the weight of the bones with one of `parts` in their name."""
    return body.weights[:, [any(part in name for part in parts) for name in body.bones]].sum(axis=1)


def test_bones_keep_their_length(posed):
    _, body, _, _, heads, _ = posed
    child = np.flatnonzero(body.parents >= 0)
    parent = body.parents[child]
    rest = np.linalg.norm(body.heads[child] - body.heads[parent], axis=1)
    length = np.linalg.norm(heads[:, child] - heads[:, parent], axis=2)
    np.testing.assert_allclose(length, np.tile(rest, (FRAMES, 1)), atol=1e-9)


def test_quaternions_are_unit_and_continuous(posed):
    motion = posed[2]
    np.testing.assert_allclose(np.linalg.norm(motion.rotations, axis=2), 1, atol=1e-9)
    assert (np.sum(motion.rotations[1:] * motion.rotations[:-1], axis=2) > 0.8).all()


def test_nothing_goes_through_the_floor(posed):
    assert posed[-1][..., 2].min() > -0.005


def test_planted_feet_touch_the_floor_and_do_not_slide(posed):
    """Of the points on the floor in two consecutive frames, one at least must hold still."""
    _, body, motion, _, _, vertices = posed
    for side in SIDES:
        points = vertices[:, share(body, f"{side.title()}Foot", f"{side.title()}ToeBase") > 0.9]
        both = motion.planted[side][1:] & motion.planted[side][:-1]
        assert both.any()
        assert points[motion.planted[side], :, 2].min(axis=1).max() < 0.006
        moved = np.linalg.norm(np.diff(points, axis=0)[..., :2], axis=-1)
        down = (points[1:, :, 2] < 0.012) & (points[:-1, :, 2] < 0.012)
        assert np.where(down, moved, np.inf).min(axis=1)[both].max() < 0.002


def test_knees_bend_forwards_within_limits(posed):
    _, body, _, _, heads, _ = posed
    for side in SIDES:
        hip, knee, ankle = (joint(body, heads, f"{side.title()}{part}") for part in ("UpLeg", "Leg", "Foot"))
        angle = bend(hip, knee, ankle)
        assert angle.min() > 3
        assert angle.max() < 125
        forward = (joint(body, heads, f"{side.title()}ToeBase") - ankle) * [1, 1, 0]
        assert (np.sum((knee - (hip + ankle) / 2) * forward, axis=1) > 0).all()


def test_elbows_bend_forwards_within_limits(posed):
    """Seen from the person's left, a forearm turns towards the front from its upper arm; an arm overhead may differ."""
    name, body, _, rotations, heads, _ = posed
    for side in SIDES:
        shoulder, elbow, wrist = (joint(body, heads, f"{side.title()}{part}") for part in ("Arm", "ForeArm", "Hand"))
        angle = bend(shoulder, elbow, wrist)
        assert angle.min() > 3
        assert angle.max() < 140
        if (name, side) != ("wave", "right"):
            hinge = np.cross(elbow - shoulder, wrist - elbow)
            assert (np.sum(hinge * (rotations[:, body.bone("Spine2")] @ [-1, 0, 0]), axis=1) > 0).all()


def test_arms_stay_out_of_the_trunk(posed):
    _, body, _, _, _, moved = posed
    forearm, trunk = share(body, "ForeArm", "Hand") > 0.9, share(body, "Arm", "Hand", "Shoulder") < 0.02
    for vertices in moved[::3]:
        corners = vertices[body.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(vertices)
        np.add.at(normals, body.faces, across[:, None])
        normals = normals[trunk] / np.linalg.norm(normals[trunk], axis=1, keepdims=True)
        nearest = cKDTree(vertices[trunk]).query(vertices[forearm])[1]
        outside = np.sum((vertices[forearm] - vertices[trunk][nearest]) * normals[nearest], axis=1)
        assert outside.min() > -0.005


def test_the_head_stays_up_and_looks_forward(posed):
    _, body, _, rotations, _, _ = posed
    head = rotations[:, body.bone("Head")]
    assert (head @ [0, 0, 1])[:, 2].min() > np.cos(np.radians(20))
    assert (head @ [0, -1, 0])[:, 1].max() < -np.cos(np.radians(20))


def test_walking_travels_forward_at_a_natural_speed(body):
    motion = animate("walk", body, 48, 24)
    speed = np.diff(motion.root[:, 1]) * 24
    leg = body.heads[body.bone("LeftUpLeg"), 2]
    froude = speed.mean() ** 2 / (9.81 * leg)
    assert (speed < 0).all()
    assert 0.05 < froude < 0.35  # people change from walking to running at 0.5
    np.testing.assert_allclose(motion.root[[0, -1], 1].mean(), body.heads[0, 1], atol=1e-9)


def test_arms_swing_against_the_legs(body):
    _, heads = forward_kinematics(body, animate("walk", body, 48, 24))
    for side in SIDES:
        ankle, wrist = (joint(body, heads, f"{side.title()}{part}")[:, 1] - heads[:, 0, 1] for part in ("Foot", "Hand"))
        assert np.corrcoef(ankle, wrist)[0, 1] < -0.8


@pytest.mark.parametrize("name", STANDING)
def test_a_clip_of_whole_cycles_loops(body, name):
    """The step from the last frame to the first is no bigger than the steps inside."""
    motion = animate(name, body, 48, 24)
    angle = 1 - np.abs(np.sum(motion.rotations * np.roll(motion.rotations, 1, axis=0), axis=2))
    assert (angle[0] <= angle[1:].max(axis=0) * 1.05 + 1e-9).all()


def test_a_single_frame_can_be_posed(body):
    for name in STANDING:
        assert np.isfinite(animate(name, body, 1, 24).rotations).all()


def test_an_unknown_motion_is_refused_with_the_nearest(body):
    with pytest.raises(PoseFactoryError, match=r"'wlak': did you mean 'walk'\?"):
        animate("wlak", body, 10, 24)


@pytest.mark.parametrize(("frames", "fps"), [(0, 24), (10, 0)])
def test_a_motion_needs_frames_and_a_rate(body, frames, fps):
    with pytest.raises(PoseFactoryError, match="positive"):
        animate("walk", body, frames, fps)
