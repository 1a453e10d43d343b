"""Frames are hidden from known motions and filled: nearer to the truth than holding or linear motion."""

from functools import cache

import numpy as np
import pytest
from motions import NAMES, SIZE, assemble, centred, motion, track
from scipy.spatial.transform import Rotation

from pose_factory.bodies.motion import STANDING
from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import people
from pose_factory.tracking.camera import project
from pose_factory.tracking.filling import HALF_LIVES, interpolate, interpolate_boxes, missing, predict
from pose_factory.tracking.people import INTERPOLATED, PREDICTED

FRAMES = np.arange(1, 141)
NOISE = 0.01
LENGTHS = range(1, 31)


def seen_by_length(name, length, noise):
    """A motion's track, and for gaps of so many frames: the frames hidden, and the rows seen."""
    everything = track(motion(name, fps=24 if length % 2 else 30), noise, seed=length)
    for start in (24 + length % 7, 70 + length % 11):
        hidden = np.arange(start, start + length)
        yield everything, hidden, np.setdiff1d(np.arange(len(everything)), hidden)


@cache
def errors(length, noise):
    """Mean errors (2 ways, 3 methods) in metres over all motions: interpolated and predicted; ours, hold, linear."""
    found = []
    for name in STANDING:
        truth = centred(motion(name, fps=24 if length % 2 else 30))
        for everything, hidden, rows in seen_by_length(name, length, noise):
            first, last, seen = hidden[0] - 1, hidden[-1] + 1, everything.joints
            share = ((hidden - first) / (last - first))[:, None, None]
            ahead = (hidden - first)[:, None, None]
            hold = np.broadcast_to(seen[first], truth[hidden].shape)
            placed = [
                (interpolate(everything[rows], FRAMES[hidden], assemble, SIZE).joints, hold,
                 (1 - share) * seen[first] + share * seen[last]),
                (predict(everything[: first + 1], FRAMES[hidden], assemble, SIZE).joints, hold,
                 seen[first] + (seen[first] - seen[first - 1]) * ahead),
            ]  # fmt: skip
            found.append([[np.linalg.norm(x - truth[hidden], axis=-1).mean() for x in way] for way in placed])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("noise", [0, NOISE])
def test_ours_beats_holding_and_linear_motion_at_every_gap_length(noise):
    for length in LENGTHS:
        for way, (ours, hold, linear) in zip((INTERPOLATED, PREDICTED), errors(length, noise), strict=True):
            assert ours < hold and ours < linear, (way, length)


def hidden_sets():
    rng = np.random.default_rng(0)
    yield np.flatnonzero(rng.random(140) < 0.36)
    yield from (np.arange(60, 60 + burst) for burst in (5, 15, 30))
    yield np.arange(10)
    yield np.arange(130, 140)


@pytest.mark.parametrize("hidden", list(hidden_sets()), ids=["36 %", "5", "15", "30", "first 10", "last 10"])
def test_hidden_frames_are_all_filled_and_nearer_than_the_nearest_seen(hidden):
    for name in ("walk", "dance"):
        everything, truth = track(motion(name), NOISE), centred(motion(name))
        seen = everything[np.setdiff1d(np.arange(140), hidden)]
        lacking = missing(seen, FRAMES)
        np.testing.assert_array_equal(lacking, FRAMES[hidden])
        inside = (lacking > seen.frames[0]) & (lacking < seen.frames[-1])
        parts = [
            place(seen, lacking[at], assemble, SIZE)
            for place, at in ((interpolate, inside), (predict, ~inside))
            if at.any()
        ]
        whole = people.merge(seen, *parts)
        np.testing.assert_array_equal(whole.frames, FRAMES)
        nearest = np.abs(seen.frames[:, None] - lacking).argmin(axis=0)
        ours, hold = (
            np.linalg.norm(x - truth[hidden], axis=-1).mean() for x in (whole.joints[hidden], seen.joints[nearest])
        )
        assert ours < 0.9 * hold


def test_a_filled_body_is_whole_and_projects_where_it_says():
    everything = track(motion("dance"))
    seen = everything[np.r_[0:50, 65:140]]
    filled = interpolate(seen, range(51, 66), assemble, SIZE)
    np.testing.assert_allclose(filled.joints, assemble(filled.rotations, filled.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(filled.rotations), 1, atol=1e-9)
    np.testing.assert_allclose(filled.pixels, project(filled.joints, filled.translation, *SIZE), atol=0.05)
    assert np.abs(filled.pixels - everything.pixels[50:65]).max() < 25
    assert set(filled.provenance) == {INTERPOLATED}


def test_pixels_and_box_join_what_was_seen_although_it_is_noisy():
    """The first filled frame continues the last seen one: what it was off the model fades across the gap."""
    everything = track(np.repeat(motion("wave")[:1], 140, axis=0), NOISE)
    seen = everything[np.r_[0:50, 150 - 60 : 140]]
    filled = interpolate(seen, range(51, 91), assemble, SIZE)
    step = np.abs(np.diff(np.concatenate([seen.pixels[49:50], filled.pixels, seen.pixels[50:51]]), axis=0)).max()
    assert step < 0.1 * np.abs(everything.pixels[49] - everything.pixels[90]).max()
    off = seen.box[[49, 50]] - np.concatenate([seen.pixels.min(axis=1), seen.pixels.max(axis=1)], axis=1)[[49, 50]]
    np.testing.assert_allclose(off, [[-5, -5, 9, 9]] * 2)
    np.testing.assert_allclose(filled.box[:, 2:] - filled.pixels.max(axis=1), 9)


def test_confidence_halves_with_distance():
    seen = track(motion("walk"))[:50]
    ahead = predict(seen, [51, 55, 60], assemble, SIZE)
    expected = seen.confidence[-1] * 0.5 ** (np.array([[1], [5], [10]]) / HALF_LIVES[PREDICTED])
    np.testing.assert_allclose(ahead.confidence, expected)
    np.testing.assert_allclose(ahead.score, 0.9 * 0.5 ** (np.array([1, 5, 10]) / HALF_LIVES[PREDICTED]))
    both = interpolate(track(motion("walk"))[np.r_[0:50, 71:140]], range(51, 72), assemble, SIZE)
    assert both.score.argmin() == 10 and both.score[10] == pytest.approx(0.9 * 0.5 ** (11 / HALF_LIVES[INTERPOLATED]))


def test_a_steady_spin_goes_on_past_half_a_turn():
    angles = np.arange(60) * 0.25
    body = motion("wave")[0]
    spin = np.stack([body @ Rotation.from_rotvec([0, angle, 0]).as_matrix().T for angle in angles])
    seen = track(spin)
    filled = interpolate(seen[np.r_[0:28, 32:60]], range(29, 33), assemble, SIZE)
    assert np.linalg.norm(filled.joints - seen.joints[28:32], axis=-1).mean() < 0.005
    ahead = predict(seen[:56], range(57, 61), assemble, SIZE)
    held = np.linalg.norm(seen.joints[55] - seen.joints[56:], axis=-1).mean()
    assert np.linalg.norm(ahead.joints - seen.joints[56:], axis=-1).mean() < 0.3 * held


def test_prediction_into_the_past_mirrors_that_into_the_future():
    seen = track(motion("dance"))[40:90]
    mirrored = people.stack(range(-90, -40), [seen.pose(row) for row in range(49, -1, -1)], people.DETECTED)
    before = predict(seen, range(31, 41), assemble, SIZE)
    after = predict(mirrored, range(-40, -30), assemble, SIZE)
    np.testing.assert_allclose(before.joints, after.joints[::-1], atol=1e-6)


def test_boxes_to_look_at_lie_on_the_person():
    everything = track(motion("walk"))
    seen = everything[np.r_[20:60, 75:120]]
    asked = [70, 65, 15, 125, 61]
    boxes, true = interpolate_boxes(seen, asked), everything.box[np.array(asked) - 1]
    low, high = np.maximum(boxes[:, :2], true[:, :2]), np.minimum(boxes[:, 2:], true[:, 2:])
    both = np.clip(high - low, 0, None).prod(axis=1)
    area = sum((x[:, 2:] - x[:, :2]).prod(axis=1) for x in (boxes, true))
    assert (both / (area - both)).min() > 0.7


def test_what_may_be_filled_keeps_to_the_limits():
    seen = track(motion("walk"))[np.r_[10:20, 22:60, 70:120]]
    np.testing.assert_array_equal(missing(seen, range(5, 130), 2, 3), [8, 9, 10, 21, 22, 121, 122, 123])
    np.testing.assert_array_equal(missing(seen, [65, 3, 65, 15], None, 0), [65])
    assert len(missing(seen, seen.frames)) == 0


def test_one_frame_is_held_and_order_does_not_matter():
    seen = track(motion("walk"))[5:6]
    held = predict(seen, [9, 2, 9], assemble, SIZE)
    np.testing.assert_array_equal(held.frames, [2, 9])
    for field in ("joints", "pixels", "translation", "box"):
        np.testing.assert_allclose(getattr(held, field), np.repeat(getattr(seen, field), 2, axis=0), atol=1e-6)
    two = track(motion("walk"))[[0, 139]]
    assert np.isfinite(interpolate(two, range(2, 140), assemble, SIZE).pixels).all()
    assert len(interpolate(two, [], assemble, SIZE)) == 0


@pytest.mark.parametrize(("place", "frame"), [(interpolate, 1), (interpolate, 40), (predict, 22), (predict, 15)])
def test_a_frame_in_the_wrong_place_is_refused(place, frame):
    seen = track(motion("walk"))[np.r_[10:20, 25:30]]
    with pytest.raises(PoseFactoryError, match="between seen frames interpolate"):
        place(seen, [frame], assemble, SIZE)


def test_bad_tracks_are_refused():
    seen = track(motion("walk"))[:20]
    with pytest.raises(PoseFactoryError, match="without a frame"):
        predict(seen[:0], [30], assemble, SIZE)
    seen.pixels[7, NAMES.index("nose"), 0] = np.nan
    for ask in (
        lambda: predict(seen, [30], assemble, SIZE),
        lambda: interpolate_boxes(seen, [30]),
        lambda: missing(seen, [30]),
    ):
        with pytest.raises(PoseFactoryError, match="Frame 8 of a track has a pixels that is not finite"):
            ask()
