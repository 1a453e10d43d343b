"""Motions in a scene: which start over and how, at what speed they play, and where that puts a person."""

import numpy as np
import pytest
from synthetic_person import rest_pose

from pose_factory.bodies.anny_body import bare_body
from pose_factory.bodies.motion import STANDING, animate, forward_kinematics
from pose_factory.geometry.playback import find_cycle, heading, on_floor, play, root_path
from pose_factory.rigs import detect
from pose_factory.skeleton import INDEX, JOINTS

STEP = np.array([0.03, -0.05, 0.0])


def cycle_of(joints):
    return find_cycle(joints[[0, 1, -2, -1]], len(joints))


def march(count: int, period: int) -> np.ndarray:
    """(count, 23, 3) a person who swings every joint but the hips once in `period` frames and goes STEP in each."""
    time = np.arange(count)[:, None, None]
    swing = np.random.default_rng(0).uniform(-0.2, 0.2, (1, 23, 3))
    swing[:, [INDEX["left_hip"], INDEX["right_hip"]]] = 0
    return rest_pose() + swing * np.sin(2 * np.pi * time / period + 0.4) + STEP * time


@pytest.mark.parametrize("count", [24, 25])
def test_a_march_starts_over_whether_or_not_its_first_pose_comes_again_at_the_end(count):
    cycle = cycle_of(march(count, 24))
    assert cycle.period == 24
    np.testing.assert_allclose(cycle.travel, 24 * STEP)


def test_joints_that_are_not_annotated_do_not_matter():
    joints = march(24, 24)
    joints[:, INDEX["nose"]] = np.nan
    assert cycle_of(joints).period == 24


@pytest.mark.parametrize("count", [2, 6, 12, 20, 40])
def test_a_motion_that_ends_elsewhere_does_not_start_over(count):
    assert cycle_of(march(count, 24)) is None


def test_an_arm_that_rises_does_not_start_over():
    joints = np.repeat(rest_pose()[None], 10, axis=0)
    joints[:, INDEX["left_wrist"], 2] += np.linspace(0, 0.8, 10)
    assert cycle_of(joints) is None
    joints[:, INDEX["left_wrist"], 2] = joints[0, INDEX["left_wrist"], 2]
    assert cycle_of(joints).travel.tolist() == [0, 0, 0]


def test_a_person_who_has_turned_does_not_start_over():
    joints = march(24, 24)
    angle = np.linspace(0, np.pi / 2, 24)
    zero = np.zeros(24)
    turn = np.stack([np.cos(angle), -np.sin(angle), zero, np.sin(angle), np.cos(angle), zero, zero, zero, zero + 1], -1)
    assert cycle_of(joints @ turn.reshape(24, 3, 3).transpose(0, 2, 1)) is None


@pytest.mark.parametrize("name", STANDING)
def test_the_motions_of_anny_bodies_start_over(name):
    body = bare_body({})
    frames = {"walk": 24, "wave": 24, "squat": 48, "dance": 48}[name]
    _, heads = forward_kinematics(body, animate(name, body, frames, 24.0))
    joints = np.full((frames, len(JOINTS), 3), np.nan)
    for joint, (bone, end) in detect(body.bones).joints.items():
        if end == "head":
            joints[:, INDEX[joint]] = heads[:, body.bones.index(bone)]
    cycle = cycle_of(joints)
    assert cycle.period == frames
    assert np.linalg.norm(cycle.travel) == pytest.approx(1.15 if name == "walk" else 0, abs=0.15)


@pytest.mark.parametrize("rate", [1.0, 0.5, 2.0, 24 / 30, 30 / 24])
def test_a_motion_plays_at_its_own_speed_on_and_on(rate):
    """Put together from its parts as a scene does it, the march goes on as if it had never ended."""
    own = march(24, 24)
    cycle, length = cycle_of(own), 100
    played = play(24, rate, length, cycle)
    assert (played.frame <= 23).all() and (played.closing >= 0).all() and (played.closing < 1).all()
    whole = played.frame.astype(int)
    share = (played.frame - whole)[:, None, None]
    pose = own[whole] * (1 - share) + own[np.minimum(whole + 1, 23)] * share
    pose += played.closing[:, None, None] * (own[0] - pose)
    seen = pose + played.turns[:, None, None] * cycle.travel
    time = np.arange(length) * rate
    endless = march(int(time[-1]) + 2, 24)
    whole = time.astype(int)
    share = (time - whole)[:, None, None]
    np.testing.assert_allclose(seen, endless[whole] * (1 - share) + endless[whole + 1] * share, atol=1e-9)


def test_a_motion_that_does_not_start_over_holds_its_last_pose():
    played = play(5, 2.0, 6, None)
    assert played.frame.tolist() == [0, 2, 4, 4, 4, 4]
    assert not played.closing.any() and not played.turns.any()


@pytest.mark.parametrize(
    ("end", "degrees"), [((0, -1), 0), ((1, 0), 90), ((-2, 0), -90), ((0, 3), 180), ((1, -1), 45), ((0, 0), 0)]
)
def test_people_face_where_they_go(end, degrees):
    assert heading((0, 0), end) == pytest.approx(degrees)
    assert heading((5, -2), np.add(end, (5, -2))) == pytest.approx(degrees)


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


@pytest.mark.parametrize("facing", [0.0, 90.0, -130.0])
def test_a_way_begins_and_ends_where_it_should_and_keeps_the_sway_in_between(facing):
    place = on_floor(march(10, 24)) + np.random.default_rng(1).normal(0, 0.02, (10, 3)) * [1, 1, 0]
    path = root_path(place[0], place[-1], np.zeros((10, 3)), facing, (1.0, -2.0), (-0.5, 0.25))
    seen = path + place @ turned(facing).T
    np.testing.assert_allclose(seen[[0, -1]], [[1, -2, 0], [-0.5, 0.25, 0]], atol=1e-12)
    own = np.diff(place, axis=0) @ turned(facing).T
    assert np.ptp(np.diff(seen, axis=0) - own, axis=0).max() < 1e-12


def test_without_an_end_the_motion_decides_and_one_frame_needs_none():
    place = on_floor(march(10, 24))
    path = root_path(place[0], place[-1], np.zeros((10, 3)), 90.0, (1.0, -2.0), None)
    assert np.ptp(path, axis=0).max() == 0
    np.testing.assert_allclose(path[0] + turned(90) @ place[0], [1, -2, 0], atol=1e-12)
    still = root_path(place[0], place[0], np.zeros((1, 3)), 0.0, (1.0, -2.0), (5.0, 5.0))
    np.testing.assert_allclose(still[0] + place[0], [1, -2, 0])
