"""Fusion of several views' joints, and the matching of their tracks, against closed forms on synthetic people."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_person import camera, rest_pose, walk

from pose_factory.geometry import correspondence
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.correspondence import same_people
from pose_factory.geometry.fusion import MIRROR, fuse, midway
from pose_factory.geometry.triangulate import triangulate
from pose_factory.skeleton import INDEX, JOINTS, PAIRS

RING = [camera(azimuth) for azimuth in range(0, 360, 45)]
LIMIT = 20.0


def seen(world, cameras=RING):
    return np.stack([at.project(world)[0] for at in cameras])


def fused(pixels, cameras=RING, confidence=None, limit=LIMIT, min_views=2):
    confidence = np.ones(pixels.shape[:3]) if confidence is None else confidence
    return fuse(pixels, confidence, cameras, np.full(pixels.shape[:2], limit), min_views)


def noisy(pixels, sigma, seed=0):
    return pixels + np.random.default_rng(seed).normal(0, sigma, pixels.shape)


# Exact pixels, and views that are wrong


@pytest.mark.parametrize("azimuths", [(0, 90), (0, 160), (0, 45, 200), range(0, 360, 45)])
def test_exact_pixels_give_exact_points(azimuths):
    world, cameras = walk(5), [camera(azimuth) for azimuth in azimuths]
    found = fused(seen(world, cameras), cameras)
    np.testing.assert_allclose(found.points, world, atol=1e-9)
    np.testing.assert_allclose(found.residual, 0, atol=1e-8)
    np.testing.assert_allclose(found.confidence, 1)
    assert found.agreed.all() and not found.swapped.any()


@pytest.mark.parametrize("wrong", [1, 2, 3, 4, 5])
def test_views_that_are_50_pixels_off_do_not_move_a_point(wrong):
    world, rng = walk(12), np.random.default_rng(wrong)
    pixels = seen(world)
    bad = np.argsort(rng.random(pixels.shape[:3]), axis=0) < wrong
    direction = rng.uniform(0, 2 * np.pi, pixels.shape[:3])
    pixels += 50 * bad[..., None] * np.stack([np.cos(direction), np.sin(direction)], -1)
    found = fused(pixels, limit=10.0)
    np.testing.assert_allclose(found.points, world, atol=1e-9)
    assert (found.agreed == ~bad).all()
    np.testing.assert_allclose(found.confidence, (8 - wrong) / 8)
    assert np.linalg.norm(triangulate(pixels, RING)[0] - world, axis=-1).mean() > 0.02


def test_outliers_leave_the_error_of_noisy_views_as_it_is():
    world = walk(40)
    pixels = noisy(seen(world), 2.0)
    clean = np.linalg.norm(fused(pixels[:5], RING[:5]).points - world, axis=-1).mean()
    pixels[5:] += 50
    assert np.linalg.norm(fused(pixels).points - world, axis=-1).mean() == pytest.approx(clean, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 8))
def test_without_outliers_it_is_no_worse_than_linear_triangulation(seed, views):
    rng = np.random.default_rng(seed)
    world, cameras = walk(8, seed=seed), [RING[index] for index in np.sort(rng.permutation(8)[:views])]
    pixels = noisy(seen(world, cameras), 1.0, seed)
    found = fused(pixels, cameras, limit=100.0)
    _, linear = triangulate(pixels, cameras)
    assert found.agreed.all() and not found.swapped.any()
    # it minimises the distance in pixels, which the linear solution only comes near to
    assert (found.residual <= linear + 1e-9).all()
    np.testing.assert_allclose(found.residual, linear, atol=0.2)


def test_points_move_with_the_world():
    world, shift = walk(6), np.array([3.0, -2.0, 0.5])
    pixels = noisy(seen(world), 3.0)
    moved = [Camera(at.K, at.R, at.t - at.R @ shift, at.width, at.height) for at in RING]
    np.testing.assert_allclose(fused(pixels, moved).points, fused(pixels).points + shift, atol=1e-9)


# Weights


def test_a_view_counts_by_its_confidence():
    world, cameras = walk(6), [camera(0), camera(60), camera(120)]
    pixels = seen(world, cameras)
    pixels[0] += [6.0, 0.0]
    confidence = np.ones(pixels.shape[:3])
    errors = []
    for weight in (1.0, 0.1, 0.001):
        confidence[0] = weight
        found = fused(pixels, cameras, confidence, limit=50.0)
        assert found.agreed.all()
        np.testing.assert_allclose(found.confidence, (2 + weight) / 3)
        errors.append(np.linalg.norm(found.points - world, axis=-1).max())
    assert errors[0] > 3 * errors[1] > 90 * errors[2] > 0


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_a_view_without_confidence_counts_for_nothing(nothing):
    world = walk(3)
    pixels, confidence = seen(world), np.ones((8, 3, 23))
    pixels[2] += 5
    confidence[2] = nothing
    found = fused(pixels, confidence=confidence)
    np.testing.assert_allclose(found.points, world, atol=1e-9)
    assert not found.agreed[2].any() and found.agreed[[0, 1, 3]].all()


# What cannot be fused


def test_missing_joints_frames_and_views_are_left_out():
    world = walk(5)
    pixels = seen(world)
    pixels[:, 0] = np.nan
    pixels[1:, 1] = np.nan
    pixels[2:, 2] = np.nan
    pixels[:, 3, INDEX["nose"]] = np.nan
    pixels[5, :, :, 1] = np.nan
    found = fused(pixels)
    there = np.isfinite(found.points).all(-1)
    assert not there[:2].any() and there[[2, 4]].all()
    assert not there[3, INDEX["nose"]] and there[3].sum() == len(JOINTS) - 1
    np.testing.assert_allclose(found.points[there], world[there], atol=1e-9)
    assert np.isnan(found.residual[~there]).all() and (found.confidence[~there] == 0).all()
    assert (found.agreed.sum(0)[2] == 2).all() and not found.agreed[5].any()


def test_one_view_is_not_enough():
    found = fused(seen(walk(3), RING[:1]), RING[:1])
    assert np.isnan(found.points).all() and np.isnan(found.residual).all()
    assert not found.agreed.any() and (found.confidence == 0).all()


def test_parallel_rays_tell_no_depth():
    world = walk(4)
    twice = [RING[0], RING[0]]
    assert np.isnan(fused(seen(world, twice), twice).points).all()
    close = [camera(0), camera(1)]
    assert np.isnan(fused(seen(world, close), close).points).all()
    assert np.isnan(midway(*seen(world, close), *close)).all()


def test_neighbouring_cameras_alone_do_not_make_a_point():
    world, cameras = walk(4), [camera(0), camera(1), camera(90)]
    pixels = seen(world, cameras)
    pixels[2, ..., 1] += 15  # which the three agree on midway, until the two outvote the one
    found = fused(pixels, cameras, limit=8.5)
    assert np.isnan(found.points).all() and not found.agreed.any()


def test_two_views_that_contradict_each_other_give_no_point():
    world, cameras = walk(4), [camera(0), camera(90)]
    pixels = seen(world, cameras)
    pixels[1, :, INDEX["left_knee"], 1] += 100
    there = np.isfinite(fused(pixels, cameras).points).all(-1)
    assert not there[:, INDEX["left_knee"]].any() and there.sum() == 4 * 22


def test_enough_views_must_agree():
    world = walk(3)
    pixels = seen(world)
    pixels[3:, :, INDEX["nose"]] = np.nan
    assert np.isfinite(fused(pixels, min_views=3).points).all()
    there = np.isfinite(fused(pixels, min_views=4).points).all(-1)
    assert not there[:, INDEX["nose"]].any() and there.sum() == 3 * 22


def test_a_point_behind_a_camera_is_not_agreed_on_by_it():
    world = walk(3)
    away = Camera.look_at([0, -4, 1.4], [0, -8, 1.4], 600.0, 400, 400)
    pixels = np.concatenate([seen(world), np.full((1, 3, 23, 2), 200.0)])
    found = fused(pixels, [*RING, away])
    np.testing.assert_allclose(found.points, world, atol=1e-9)
    assert not found.agreed[8].any()


# Left and right


@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_a_view_that_takes_left_for_right_is_turned_round(wrong):
    world, rng = walk(12), np.random.default_rng(wrong)
    pixels = seen(world)
    swapped = np.argsort(rng.random((8, 12)), axis=0) < wrong
    pixels[swapped] = pixels[swapped][:, MIRROR]
    confidence = np.ones((8, 12, 23))
    found = fused(pixels, confidence=confidence)
    np.testing.assert_allclose(found.points, world, atol=1e-9)
    np.testing.assert_array_equal(found.swapped, swapped)
    assert found.agreed.all()


def test_the_mirror_exchanges_the_pairs_and_nothing_else():
    assert [JOINTS[MIRROR[INDEX[left]]] for left, _ in PAIRS] == [right for _, right in PAIRS]
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(len(JOINTS)))
    assert (np.arange(len(JOINTS)) == MIRROR).sum() == len(JOINTS) - 2 * len(PAIRS)


def test_a_body_seen_edge_on_is_left_alone():
    world = rest_pose()[None]
    found = fused(noisy(seen(world, [camera(90), camera(85), camera(95)]), 2.0), [camera(90), camera(85), camera(95)])
    assert not found.swapped.any()


# Who is who in several views


def people(count=3, frames=30):
    """(count, frames, 23, 3): people of one height who walk about each other on one floor."""
    time = np.arange(frames) / frames * 2 * np.pi
    paths = [
        np.stack([0.9 * np.cos(time + turn), 0.9 * np.sin(time + turn), 0 * time], -1)
        for turn in np.arange(count) / count * 2 * np.pi
    ]
    return np.stack([walk(frames, turns=0.2, seed=index) + path[:, None] for index, path in enumerate(paths)])


def far(azimuths):
    """Cameras further off, that see people walk about."""
    turn = [np.radians(azimuth) for azimuth in azimuths]
    return [Camera.look_at([6 * np.sin(a), -6 * np.cos(a), 1.4], [0, 0, 0.95], 500.0, 400, 400) for a in turn]


def matched(pixels, cameras):
    sizes = [np.array([np.nanmax(np.ptp(np.nan_to_num(t, nan=200.0), axis=1)) for t in block]) for block in pixels]
    return same_people(pixels, sizes, cameras)


@pytest.mark.parametrize("azimuths", [(0, 100, 200), range(0, 360, 45)])
@pytest.mark.parametrize("swapped", [False, True])
def test_tracks_are_matched_whatever_their_order_is(azimuths, swapped, monkeypatch):
    monkeypatch.setattr(correspondence, "FARTHEST", 0.05)
    cameras, rng = far(azimuths), np.random.default_rng(0)
    orders = [rng.permutation(3) for _ in cameras]
    pixels = [
        noisy(np.stack([at.project(p)[0] for p in people()[o]]), 2.0) for at, o in zip(cameras, orders, strict=True)
    ]
    if swapped:
        pixels[1] = pixels[1][:, :, MIRROR]
    found = matched(pixels, cameras)
    assert len(found) == 3
    for person in found:
        assert len({order[index] for order, (index,) in zip(orders, person, strict=True)}) == 1
    assert [person[0] for person in found] == [[0], [1], [2]]


def test_a_broken_track_a_missing_one_and_a_ghost():
    cameras = far((0, 70, 140, 250))
    exact = [np.stack([at.project(person)[0] for person in people(2)]) for at in cameras]
    first, second = exact[0][0].copy(), exact[0][0].copy()
    first[14:], second[:16] = np.nan, np.nan
    exact[0] = np.stack([second, exact[0][1], first])
    exact[1] = exact[1][:1]
    ghost = np.random.default_rng(0).uniform(0, 400, (1, 30, 23, 2))
    exact[2] = np.concatenate([ghost, exact[2]])
    found = matched(exact, cameras)
    assert found == [[[0, 2], [0], [1], [0]], [[1], [], [2], [1]]]


def test_two_views_are_not_enough_where_there_are_more():
    cameras = far((0, 70, 140, 250))
    pixels = [np.stack([at.project(person)[0] for person in people(2)]) for at in cameras]
    pixels[2:] = [block[:1] for block in pixels[2:]]
    assert matched(pixels, cameras) == [[[0], [0], [0], [0]]]
    assert matched(pixels[:2], cameras[:2]) == [[[0], [0]], [[1], [1]]]


def test_nobody_is_matched_where_nobody_is():
    cameras = far((0, 90, 180))
    assert matched([np.empty((0, 5, 23, 2))] * 3, cameras) == []
    alone = [np.stack([cameras[0].project(people(1, 5)[0])[0]]), *[np.empty((0, 5, 23, 2))] * 2]
    assert matched(alone, cameras) == []
