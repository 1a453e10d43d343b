"""Smoothing: less jitter, no larger error, bodies that stay whole, and a causal filter that is causal."""

from dataclasses import replace

import numpy as np
import pytest
from motions import SIZE, assemble, centred, motion, track
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from pose_factory.bodies.motion import STANDING
from pose_factory.errors import PoseFactoryError
from pose_factory.tracking import camera, people
from pose_factory.tracking.coherence import jitter
from pose_factory.tracking.smoothing import smooth

NONE = {"filter": "none"}
CENTRED = {"filter": "savitzky_golay", "window_seconds": 0.3}
CAUSAL = {"filter": "one_euro", "min_cutoff": 3.0, "beta": 10.0}
FPS = 30


def smoothed(seen, settings, fps=FPS):
    return smooth(seen, fps, settings, assemble, SIZE)


def error(seen, joints):
    return np.linalg.norm(seen.joints - centred(joints), axis=-1).mean()


@pytest.mark.parametrize("name", STANDING)
@pytest.mark.parametrize("settings", [CENTRED, CAUSAL], ids=lambda settings: settings["filter"])
def test_noise_shrinks_and_motion_does_not(name, settings):
    joints = motion(name)
    for noise in (0.005, 0.01):
        seen = track(joints, noise)
        after = smoothed(seen, settings)
        assert error(after, joints) < 0.95 * error(seen, joints)
        assert jitter(after.joints, after.frames, FPS) < 0.9 * jitter(seen.joints, seen.frames, FPS)
        true = camera.project(centred(joints), track(joints).translation, *SIZE)
        lag = 0 if settings is CENTRED else 1.5  # pixels behind somebody who walks by
        assert np.abs(after.pixels - true).mean() < np.abs(seen.pixels - true).mean() + lag


def test_exact_motion_is_hardly_changed_by_the_centred_filter():
    for name in STANDING:
        assert error(smoothed(track(motion(name)), CENTRED), motion(name)) < 0.0008


@pytest.mark.parametrize("settings", [CENTRED, CAUSAL], ids=lambda settings: settings["filter"])
def test_the_body_stays_whole(settings):
    seen = track(motion("dance"), 0.01)
    after = smoothed(seen, settings)
    np.testing.assert_allclose(after.joints, assemble(after.rotations, after.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(after.rotations), 1, atol=1e-9)
    np.testing.assert_allclose(after.rotations @ after.rotations.swapaxes(-1, -2) - np.eye(3), 0, atol=1e-9)
    for field in ("frames", "provenance", "score", "confidence", "appearance"):
        assert getattr(after, field) is getattr(seen, field)
    assert not np.array_equal(after.box, seen.box)


def test_translation_is_scipys_filter_of_it():
    seen = track(motion("walk"), 0.01)
    expected = savgol_filter(seen.translation, 9, 3, axis=0)
    np.testing.assert_allclose(smoothed(seen, CENTRED).translation, expected, atol=1e-12)


def test_the_causal_filter_does_not_see_the_future():
    seen = track(motion("dance"), 0.01)
    np.testing.assert_allclose(smoothed(seen, CAUSAL)[:50].pixels, smoothed(seen[:50], CAUSAL).pixels, atol=1e-9)
    assert not np.allclose(smoothed(seen, CENTRED)[:50].pixels, smoothed(seen[:50], CENTRED).pixels)


def test_the_causal_filter_is_the_published_one():
    """A turn about one axis at constant speed, against the published algorithm for one number."""
    angles = np.cumsum(np.r_[0, np.full(20, 0.05), np.full(20, 0.2)])
    seen = track(np.repeat(motion("wave")[:1], len(angles), axis=0))
    turning = Rotation.from_rotvec(angles[:, None] * [0, 1, 0]).as_matrix()[:, None] @ seen.rotations[:, :1]
    seen = replace(seen, rotations=np.concatenate([turning, seen.rotations[:, 1:]], axis=1))

    def low_pass(cutoff):
        return 1 / (1 + FPS / (2 * np.pi * cutoff))

    expected, speed = [angles[0]], 0.0
    for before, angle in zip(angles[:-1], angles[1:], strict=True):
        speed += low_pass(1.0) * ((angle - before) * FPS - speed)
        alpha = low_pass(CAUSAL["min_cutoff"] + CAUSAL["beta"] * abs(speed))
        expected.append(alpha * angle + (1 - alpha) * expected[-1])
    found = smoothed(seen, CAUSAL).rotations[:, 0] @ seen.rotations[0, 0].T
    np.testing.assert_allclose(Rotation.from_matrix(found).as_rotvec()[:40, 1] % (2 * np.pi), expected[:40], atol=1e-9)


def test_a_gap_parts_what_is_filtered():
    seen = track(motion("walk"), 0.01)
    first, last = seen[:40], seen[60:]
    both = smoothed(people.merge(first, last), CENTRED)
    np.testing.assert_array_equal(both.joints[:40], smoothed(first, CENTRED).joints)
    np.testing.assert_array_equal(both.joints[40:], smoothed(last, CENTRED).joints)


def test_every_fourth_frame_has_a_quarter_of_the_window():
    seen = track(motion("walk"), 0.01)
    spread = replace(seen, frames=4 * seen.frames)
    after = smooth(spread, 4 * FPS, CENTRED, assemble, SIZE, step=4)
    np.testing.assert_allclose(after.joints, smoothed(seen, CENTRED).joints)


def test_what_comes_later_does_not_change_how_live_is_smoothed():
    """Every second image of a stretch was lost, all were there afterwards."""
    seen = track(motion("walk"), 0.01)[:30]
    kept = np.isin(np.arange(30), [*range(0, 14, 2), *range(14, 30)])
    whole, early = smoothed(seen[kept], CAUSAL), smoothed(seen[kept][:7], CAUSAL)
    np.testing.assert_array_equal(whole.joints[:7], early.joints)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6, 8])
def test_short_tracks(frames):
    seen = track(motion("walk"), 0.01)[:frames]
    for settings in (CENTRED, CAUSAL):
        after = smoothed(seen, settings)
        assert np.isfinite(after.pixels).all() and len(after) == frames
    np.testing.assert_allclose(smoothed(seen, CENTRED).joints, seen.joints, atol=1e-9 if frames < 5 else 0.05)


def test_none_changes_nothing():
    seen = track(motion("walk"), 0.01)
    assert smoothed(seen, NONE) is seen


def test_bad_input_is_refused():
    seen = track(motion("walk"))
    with pytest.raises(PoseFactoryError, match="true rate"):
        smoothed(seen, CENTRED, fps=0)
    seen.translation[3] = np.nan
    with pytest.raises(PoseFactoryError, match="translation that is not finite"):
        smoothed(seen, CENTRED)
