"""One session, live: the same poses as a batch run in causal mode, whatever happens between two images."""

from dataclasses import replace
from pathlib import Path

import motions
import numpy as np
import pytest
from scripted import FRAMES, Film, Scripted, walker

from pose_factory.config import load
from pose_factory.service.live import LiveTracker, Memory, Turn, digest, turn
from pose_factory.skeleton import JOINTS
from pose_factory.tracking.output import smoothly
from pose_factory.tracking.people import DETECTED, PREDICTED, REDETECTED
from pose_factory.tracking.session import follow
from pose_factory.tracking.smoothing import smooth

CAUSAL = {"mode": "causal", "smoothing": {"filter": "one_euro"}}
SETTINGS = load({"characters": {"ada": {"anny": {}}}, "tracking": CAUSAL}, Path())["tracking"]
UNSMOOTHED = SETTINGS | {"smoothing": SETTINGS["smoothing"] | {"filter": "none"}}


def live(backend, settings=SETTINGS, frames=FRAMES, film=None) -> dict:
    """The sightings by frame, of a tracker that is frozen and thawed after each image."""
    tracker, sightings = LiveTracker(backend, settings, Film.size, Film.fps), {}
    for frame, image in film or Film(frames):
        sightings[frame] = tracker.step(frame, image, backend.detect([image])[0])
        tracker = LiveTracker.thaw(tracker.freeze(), backend, settings)
    return sightings


def assert_same(sighting, track, row, **tolerance):
    pose, expected = sighting.pose, track.pose(row)
    assert (sighting.frame, sighting.provenance) == (track.frames[row], track.provenance[row])
    for name in vars(expected):
        np.testing.assert_allclose(getattr(pose, name), getattr(expected, name), **tolerance, err_msg=name)


@pytest.mark.parametrize("settings", [SETTINGS, UNSMOOTHED], ids=["one_euro", "none"])
def test_live_and_frozen_in_between_is_the_same_as_in_one_go(settings):
    hidden = {*range(20, 30), 41, 58}
    backend = Scripted([walker()], [hidden], [{22, 23, 41}])
    whole = smoothly(follow(Film(), backend, settings), Film(), backend, settings).tracks[1]
    sightings = live(backend, settings)
    assert {REDETECTED, PREDICTED, DETECTED} == set(whole.provenance)
    for row, frame in enumerate(FRAMES):
        assert_same(sightings[frame], whole, row, rtol=0, atol=1e-9)


def test_each_of_several_people_is_smoothed_from_the_first_sight_on():
    """The one who was first leaves; who is told of from then on was followed all the time."""
    first, second = walker(-2.0, frames=range(1, 31)), walker(2.0, "wave")
    backend = Scripted([first, second], [set(), set(range(1, 10))])
    settings = SETTINGS | {"fill": SETTINGS["fill"] | {"predicted_limit": 3}}
    whole = smoothly(follow(Film(), backend, settings), Film(), backend, settings).tracks
    sightings = live(backend, settings)
    assert [sightings[frame].track_id for frame in FRAMES] == 33 * [1] + 27 * [2]
    for frame in (20, 33):
        assert_same(sightings[frame], whole[1], frame - 1, rtol=0, atol=1e-9)
    for frame in (34, 60):
        assert_same(sightings[frame], whole[2], frame - 10, rtol=0, atol=1e-9)


def test_whoever_is_told_of_stays_it_when_somebody_surer_comes():
    first, second = walker(-2.0), walker(2.0, "wave", frames=range(10, 61))
    backend = Scripted([second, first], [set(), set(range(40, 45))])  # the second is always found before the first
    assert {sighting.track_id for sighting in live(backend).values()} == {1}


def test_of_two_who_come_back_it_is_who_was_seen_longest():
    """Nobody can be placed for a while; then both are there at once."""
    early, late = walker(-2.0), walker(2.0, "wave", frames=range(20, 61))
    nothing = UNSMOOTHED | {"fill": UNSMOOTHED["fill"] | {"order": []}}
    backend = Scripted([late, early], [{*range(40, 46)}, {*range(1, 10), *range(40, 46)}])
    sightings = live(backend, nothing)
    assert [sightings[frame] for frame in (1, 9, 40, 45)] == 4 * [None]
    assert {sightings[frame].track_id for frame in (10, 39, 46, 60)} == {1}


def test_nobody_is_nobody():
    assert set(live(Scripted([], [])).values()) == {None}


# Frames that are left out


def test_every_second_frame_is_one_person_at_the_right_speed():
    frames = FRAMES[::2]
    hidden = {31, 33}
    backend = Scripted([walker()], [hidden])
    sightings = live(backend, UNSMOOTHED, frames)
    assert {sighting.track_id for sighting in sightings.values()} == {1}
    for frame in hidden:
        assert sightings[frame].provenance == PREDICTED
        error = np.linalg.norm(sightings[frame].pose.joints - walker().joints[frame - 1], axis=-1).mean()
        assert error < 0.05
        still = np.linalg.norm(walker().joints[28] - walker().joints[frame - 1], axis=-1).mean()
        assert error < 0.5 * still


def test_after_a_gap_the_person_is_still_the_same_unless_it_is_too_long():
    for gap, ids in ((30, {1}), (45, {1, 2})):
        settings = UNSMOOTHED | {"association": SETTINGS["association"] | {"max_age": 40}}
        frames = [*range(1, 13), *range(13 + gap, 61)]
        standing = walker(name="wave")
        assert {s.track_id for s in live(Scripted([standing], [set()]), settings, frames).values()} == ids


def test_a_gap_before_anybody_is_sure_ends_nobody():
    frames = [1, 2, 5, 6, 9, 10, 13]
    assert {s.track_id for s in live(Scripted([walker()], [set()]), frames=frames).values()} == {1}


def test_every_second_frame_is_smoothed_as_a_film_of_which_every_second_was_taken():
    backend, taken = Scripted([walker()], [set()]), range(1, 40, 2)
    sightings = live(backend, frames=taken)
    expected = smooth(walker(frames=taken), Film.fps, SETTINGS["smoothing"], backend.assemble, Film.size, step=2)
    found = np.array([sightings[frame].pose.joints for frame in taken])
    np.testing.assert_allclose(found, expected.joints, atol=1e-9)
    assert not np.allclose(found, walker(frames=taken).joints, atol=1e-3)


# What is remembered


def test_memory_is_small_and_does_not_grow():
    """Two people walk to and fro, until one leaves."""
    people = [walker(-2.0), walker(2.0)]
    backend = Scripted(people, [set(), set()])
    tracker, sizes = LiveTracker(backend, SETTINGS, Film.size, Film.fps), []
    for frame, image in Film(range(200)):
        there = 60 - abs(frame % 118 - 59)
        tracker.step(frame, image, backend._at(there, [True, frame < 100]))
        sizes.append(len(tracker.freeze()))
    assert sizes[99] == sizes[60] < 2 * 100_000
    assert sizes[199] == sizes[170] < 100_000


def test_neither_the_backend_nor_the_settings_travel():
    class Heavy(Scripted):
        weights = "w" * 1000

        def __reduce__(self):
            raise AssertionError("the backend was pickled")

        def predict_pose(self, poses, times, horizon):
            return poses[:, -1]

    backend = Heavy([walker()], [set()])
    backend.predict_pose = backend.predict_pose  # a bound method is another object each time that it is asked for
    tracker = LiveTracker(backend, SETTINGS, Film.size, Film.fps)
    for frame, image in Film():
        tracker.step(frame, image, backend.detect([image])[0])
    frozen = tracker.freeze()
    assert b"past_lookback" not in frozen and b"redetection_confidence" not in frozen


def test_a_body_comes_with_the_pose():
    backend = Scripted([walker()], [set(range(10, 13))])
    tracker = LiveTracker(backend, SETTINGS, motions.SIZE, Film.fps)
    for frame, image in Film(range(1, 15)):
        sighting = tracker.step(frame, image, backend.detect([image])[0])
        body = tracker.body(sighting)
        tracker = LiveTracker.thaw(tracker.freeze(), backend, SETTINGS)
        hips = [JOINTS.index("left_hip"), JOINTS.index("right_hip")]
        np.testing.assert_allclose(body.joints[hips].mean(axis=0), 0, atol=1e-9)
        assert body.joints.shape == (23, 3) and body.vertices.shape[1] == 3
        assert np.isfinite(body.vertices).all()
        ratio = body.translation / sighting.pose.translation  # nearer or further, as it is smaller or larger
        np.testing.assert_allclose(ratio, ratio[2], rtol=0.15)
        assert 0.8 < ratio[2] < 1.25
    assert len(tracker.freeze()) < 200_000


# What a frame's number means

SIZE, ONE, OTHER = (640, 480), digest(b"one image"), digest(b"another")
LAST = Memory(7, ONE, SIZE, None, b"")


@pytest.mark.parametrize(
    "number, mark, size, on_named, on_default",
    [
        (8, OTHER, SIZE, Turn.NEXT, Turn.NEXT),
        (8, ONE, SIZE, Turn.NEXT, Turn.NEXT),  # nobody moves
        (7 + 1 + 50, OTHER, SIZE, Turn.NEXT, Turn.NEXT),
        (7 + 2 + 50, OTHER, SIZE, Turn.FIRST, Turn.FIRST),
        (7, ONE, SIZE, Turn.REPEAT, Turn.REPEAT),
        (7, OTHER, SIZE, Turn.LATE, Turn.FIRST),
        (6, OTHER, SIZE, Turn.LATE, Turn.FIRST),
        (6, ONE, SIZE, Turn.LATE, Turn.FIRST),
        (0, OTHER, SIZE, Turn.FIRST, Turn.FIRST),
        (8, OTHER, (480, 640), Turn.FIRST, Turn.FIRST),
        (2**53, OTHER, SIZE, Turn.FIRST, Turn.FIRST),
    ],
)
def test_what_a_frame_is_to_the_last_one(number, mark, size, on_named, on_default):
    assert turn(LAST, number, mark, size, True, 50) == on_named
    assert turn(LAST, number, mark, size, False, 50) == on_default
    assert turn(None, number, mark, size, True, 50) == Turn.FIRST


def test_a_retried_first_frame_is_a_repeat():
    assert turn(replace(LAST, number=0), 0, ONE, SIZE, False, 50) == Turn.REPEAT
    assert turn(replace(LAST, number=0), 0, OTHER, SIZE, False, 50) == Turn.FIRST
