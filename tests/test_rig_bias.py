"""Rig bias: found where it is, and not where there is only tracking error."""

import numpy as np
import pytest
from synthetic_person import camera, rest_pose, walk

from pose_factory.skeleton import INDEX
from pose_factory.validation import metrics, rig_bias


def random_offsets(seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, (23, 3))


def moved(world, offsets):
    return world + np.einsum("fab,jb->fja", rig_bias.body_frames(world), offsets)


def view(world, seen, at):
    """What `rig_bias.estimate` takes, for a tracker that sees `seen` from camera `at`."""
    return at.project(seen)[0], world, at


def test_body_frame_of_a_person_facing_minus_y_is_the_identity():
    np.testing.assert_allclose(rig_bias.body_frames(rest_pose()[None])[0], np.eye(3), atol=1e-12)


def test_body_frames_are_rotations_and_turn_with_the_body():
    world = walk(50)
    frames = rig_bias.body_frames(world)
    np.testing.assert_allclose(frames.transpose(0, 2, 1) @ frames, np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frames), 1)
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(rig_bias.body_frames(world @ quarter.T), quarter @ frames, atol=1e-12)


def test_body_frame_of_an_incomplete_or_collapsed_person_is_nan():
    world = walk(2)
    world[0, INDEX["neck"]] = np.nan
    world[1, INDEX["left_hip"]] = world[1, INDEX["right_hip"]]
    assert np.isnan(rig_bias.body_frames(world)).any(axis=(1, 2)).all()


@pytest.mark.parametrize("azimuth", [0, 45, 180, 290])
def test_bias_is_recovered_from_one_view_of_a_turning_body(azimuth):
    world, offsets, at = walk(80), random_offsets(), camera(azimuth)
    bias = rig_bias.estimate([view(world, moved(world, offsets), at)])
    np.testing.assert_allclose(bias.offset, offsets, atol=1e-6)
    np.testing.assert_allclose(bias.spread, 0, atol=1e-9)
    assert (bias.count == 80).all()
    np.testing.assert_allclose(rig_bias.apply(world, bias), moved(world, offsets), atol=1e-6)


def test_bias_is_recovered_from_two_views_of_a_body_that_does_not_turn():
    world, offsets = walk(40, turns=0), random_offsets(1)
    seen = moved(world, offsets)
    bias = rig_bias.estimate([view(world, seen, camera(0)), view(world, seen, camera(90))])
    np.testing.assert_allclose(bias.offset, offsets, atol=1e-6)


def test_bias_survives_a_minority_of_lost_frames():
    world, offsets = walk(100), random_offsets(2)
    seen = moved(world, offsets)
    seen[::4] += np.random.default_rng(0).normal(0, 0.5, seen[::4].shape)
    bias = rig_bias.estimate([view(world, seen, camera(30))])
    assert abs(bias.offset - offsets).max() < 0.002


def test_random_tracking_error_is_left_in_place():
    world = walk(400)
    seen = world + np.random.default_rng(0).normal(0, 0.05, world.shape)
    bias = rig_bias.estimate([view(world, seen, camera(0))])
    assert abs(bias.offset).max() < 0.02
    error = metrics.mpjpe(seen, world)
    assert metrics.mpjpe(seen, rig_bias.apply(world, bias)) == pytest.approx(error, rel=0.02)


def test_an_error_constant_in_the_camera_is_not_a_bias_once_the_body_turns():
    world, at = walk(360), camera(0)
    shift = np.zeros((23, 3))
    shift[INDEX["nose"]] = 0.2 * at.R[0]
    bias = rig_bias.estimate([view(world, world + shift, at)])
    assert abs(bias.offset[INDEX["nose"]]).max() < 0.03


@pytest.mark.parametrize("azimuth", [0, 45, 90])
def test_one_view_of_a_body_that_does_not_turn_shows_no_offset_along_the_line_of_sight(azimuth):
    offsets, at = random_offsets(), camera(azimuth)
    world = rest_pose() + 0.1 * np.sin(np.arange(60)[:, None, None] * [0.07, 0.05, 0.09])
    bias = rig_bias.estimate([view(world, moved(world, offsets), at)])
    # tilted by up to 0.25 where a joint is far from the optical axis
    assert abs(bias.offset @ at.R[2]).max() < 0.25 * abs(offsets).max()
    assert abs((bias.offset - offsets) @ at.R[:2].T).max() < 0.25 * abs(offsets).max()


def test_bias_and_error_are_told_apart():
    world, offsets = walk(400), random_offsets(3)
    noise = np.random.default_rng(4).normal(0, 0.02, world.shape)
    seen = moved(world, offsets) + noise
    bias = rig_bias.estimate([view(world, seen, camera(0))])
    assert abs(bias.offset - offsets).max() < 0.01
    alone = metrics.mpjpe(world + noise, world)
    assert metrics.mpjpe(seen, world) > 1.8 * alone
    assert metrics.mpjpe(seen, rig_bias.apply(world, bias)) == pytest.approx(alone, rel=0.03)


def test_joints_with_too_few_frames_have_no_bias():
    world = walk(30)
    seen = moved(world, random_offsets())
    seen[rig_bias.MIN_FRAMES - 1 :, INDEX["nose"]] = np.nan
    seen[rig_bias.MIN_FRAMES :, INDEX["left_eye"]] = np.nan
    bias = rig_bias.estimate([view(world, seen, camera(0))])
    assert np.isnan(bias.offset[INDEX["nose"]]).all()
    assert np.isfinite(np.delete(bias.offset, INDEX["nose"], axis=0)).all()
    assert np.isnan(rig_bias.apply(world, bias)[:, INDEX["nose"]]).all()


@pytest.mark.parametrize("frames", [0, 1, 9])
def test_too_few_frames_give_no_bias(frames):
    world = walk(frames)
    bias = rig_bias.estimate([view(world, world, camera(0))])
    assert np.isnan(bias.offset).all()
    assert (bias.count == frames).all()
