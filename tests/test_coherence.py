"""Jitter and acceleration against closed forms; breaks where they were made, and nowhere else."""

import numpy as np
import pytest
from motions import NAMES, centred, motion, track
from scipy.spatial.transform import Rotation

from pose_factory.bodies.motion import STANDING
from pose_factory.tracking.coherence import acceleration, breaks, jitter

FPS = 30


def test_derivatives_of_a_cubic():
    time = np.arange(12.0)[:, None, None] / FPS
    joints = motion("wave")[:1] + time**3 * [0.3, 0, 0.4] * np.array([1.0, 2.0] + [0.0] * (len(NAMES) - 2))[:, None]
    frames = np.arange(12)
    assert jitter(joints, frames, FPS) == pytest.approx(6 * 0.5 * 3 / len(NAMES))
    middle = time[1:-1].mean()
    assert acceleration(joints, frames, FPS) == pytest.approx(6 * middle * 0.5 * 3 / len(NAMES))
    assert jitter(joints, 4 * frames, 4 * FPS) == pytest.approx(jitter(joints, frames, FPS))


def test_derivatives_do_not_reach_over_gaps():
    joints = np.concatenate([motion("wave")[:1]] * 5 + [motion("wave")[:1] + 1] * 5)
    frames = np.r_[0:5, 20:25]
    assert jitter(joints, frames, FPS) == acceleration(joints, frames, FPS) == 0
    assert np.isnan(jitter(joints[:3], frames[:3], FPS)) and np.isnan(acceleration(joints[:2], frames[:2], FPS))
    assert np.isnan(jitter(joints[3:7], frames[3:7], FPS))


@pytest.mark.parametrize("name", STANDING)
@pytest.mark.parametrize("fps", [24, 30])
def test_real_motion_does_not_break(name, fps):
    for noise in (0, 0.01):
        assert breaks(track(motion(name, fps=fps), noise), fps) == []


def changed(kind):
    seen = track(motion("walk"), 0.005)
    if kind == "joint":
        seen.joints[40:, NAMES.index("left_wrist")] += [0.3, 0, 0.4]
    if kind == "root":
        seen.box[40:] += 0.5 * (seen.box[40] - seen.box[40][[2, 3, 0, 1]]).max()
    if kind == "turn":
        seen.rotations[40:, 0] = Rotation.from_euler("y", 170, degrees=True).as_matrix() @ seen.rotations[40:, 0]
    return seen


@pytest.mark.parametrize(("kind", "size"), [("joint", 0.5 * FPS), ("root", 0.707 * FPS), ("turn", 170 * FPS)])
def test_a_leap_is_found_where_it_was_made(kind, size):
    [found] = breaks(changed(kind), FPS)
    assert (found.frame, found.kind) == (41, kind)
    assert found.size == pytest.approx(size, rel=0.15)
    assert 0.5 < found.confidence < 1


def test_the_larger_leap_is_the_surer_one():
    sizes = []
    for leap in (0.3, 0.6, 1.2):
        seen = track(motion("walk"))
        seen.joints[40:, NAMES.index("nose"), 1] += leap
        sizes.append(breaks(seen, FPS)[0].confidence)
    assert sizes == sorted(sizes) and 0 < sizes[0] < sizes[-1] < 1


def test_motion_over_a_gap_takes_as_long_as_the_gap():
    seen = track(motion("walk"))
    assert breaks(seen[np.r_[0:40, 70:140]], FPS) == []


def test_short_tracks_have_no_breaks():
    seen = track(centred(motion("walk")))
    assert breaks(seen[:1], FPS) == breaks(seen[:0], FPS) == []
