"""Who is who: closed forms, hand counts, and the figures of TrackEval 1.3.0, which cannot be installed beside us."""

import numpy as np
import pytest

from pose_factory.validation.identity import ALPHAS, hota, identity_scores

FRAMES = 20


def scores(ids, similarity=0.9, present=None):
    """`ids` (F, P): the track on each person in each frame, 0 for none; other people are not similar at all."""
    ids = np.asarray(ids)
    frame, person = np.nonzero(ids)
    order = np.lexsort((ids[frame, person], frame))
    frame, person = frame[order], person[order]
    similar = np.zeros((len(frame), ids.shape[1]))
    similar[np.arange(len(frame)), person] = similarity
    return identity_scores(similar, frame, ids[frame, person], np.ones(ids.shape, bool) if present is None else present)


def people(*ids):
    return np.tile(ids, (FRAMES, 1))


def test_a_perfect_tracker():
    found = scores(people(7, 3), similarity=1.0)
    assert {found[name] for name in ("idf1", "idp", "idr", "mota", "motp", "hota", "det_a", "ass_a")} == {1}
    assert found["objects"] == 2 * FRAMES
    assert {found[name] for name in ("switches", "fragmentations", "false_positives", "misses")} == {0}


def test_a_person_whose_track_changes_halfway():
    ids = people(7)
    ids[FRAMES // 2 :] = 8
    found = scores(ids)
    assert (found["switches"], found["misses"], found["false_positives"]) == (1, 0, 0)
    assert found["idf1"] == found["idp"] == found["idr"] == 0.5
    assert found["mota"] == pytest.approx(1 - 1 / FRAMES)
    assert found["motp"] == pytest.approx(0.9)
    # Of the 19 alphas the 18 up to 0.9 are reached. Each match is of a pair that has half of all frames: ass_a is 0.5.
    assert found["det_a"] == pytest.approx(18 / 19)
    assert found["ass_a"] == pytest.approx(0.5 * 18 / 19)
    assert found["hota"] == pytest.approx(0.5**0.5 * 18 / 19)


def test_two_people_whose_tracks_are_exchanged_halfway():
    ids = people(7, 8)
    ids[FRAMES // 2 :] = [8, 7]
    found = scores(ids, similarity=1.0)
    assert found["switches"] == 2
    assert found["idf1"] == 0.5
    assert found["mota"] == pytest.approx(1 - 2 / (2 * FRAMES))
    # Each of the four pairs matches in F / 2 of the 3 / 2 F frames in which either of them is there.
    assert (found["det_a"], found["ass_a"]) == (1, pytest.approx(1 / 3))
    assert found["hota"] == pytest.approx(3**-0.5)


def test_exchanged_for_a_quarter_of_the_time():
    ids = people(7, 8)
    ids[FRAMES // 4 : FRAMES // 2] = [8, 7]
    found = scores(ids, similarity=1.0)
    assert found["switches"] == 4
    assert found["idf1"] == 0.75
    right, wrong = 0.75, 0.25
    expected = right * (0.75 / 1.25) + wrong * (0.25 / 1.75)
    assert found["ass_a"] == pytest.approx(expected)


def test_one_miss_and_one_false_positive():
    missed, extra = people(7), np.tile([7, 0], (FRAMES, 1))
    missed[5] = 0
    found = scores(missed)
    assert (found["misses"], found["fragmentations"], found["switches"]) == (1, 1, 0)
    assert found["mota"] == pytest.approx(1 - 1 / FRAMES)
    assert (found["idp"], found["idr"]) == (1, pytest.approx(1 - 1 / FRAMES))
    extra[5, 1] = 9
    found = scores(extra, present=np.tile([True, False], (FRAMES, 1)))
    assert (found["false_positives"], found["misses"], found["objects"]) == (1, 0, FRAMES)
    assert found["mota"] == pytest.approx(1 - 1 / FRAMES)
    assert (found["idp"], found["idr"]) == (pytest.approx(FRAMES / (FRAMES + 1)), 1)
    assert found["det_a"] == pytest.approx(FRAMES / (FRAMES + 1) * 18 / 19)


def test_too_little_similarity_is_a_miss_and_a_false_positive():
    found = scores(people(7), similarity=0.49)
    assert (found["misses"], found["false_positives"], found["mota"]) == (FRAMES, FRAMES, -1)
    assert found["idf1"] == 0 and np.isnan(found["motp"])
    assert found["hota"] == pytest.approx(np.mean(ALPHAS <= 0.49))
    assert scores(people(7), similarity=0.5)["misses"] == 0


def test_each_alpha_is_reached_by_a_similarity_that_equals_it_but_for_rounding():
    there = np.array([0]), np.array([1]), np.ones((1, 1), bool)
    found = [hota(np.nextafter([[alpha]], 0), *there)["hota"] for alpha in ALPHAS]
    np.testing.assert_allclose(found, np.arange(1, 20) / 19)


def test_a_person_who_is_away_keeps_the_track():
    ids, present = people(7, 8), np.ones((FRAMES, 2), bool)
    ids[5:15, 1], present[5:15, 1] = 0, False
    found = scores(ids, present=present)
    assert found["idf1"] == found["mota"] == 1
    assert (found["objects"], found["fragmentations"], found["switches"]) == (30, 0, 0)
    ids[15:, 1] = 9
    assert scores(ids, present=present)["switches"] == 1


def test_nobody_tracked_and_nobody_there():
    nothing = scores(people(0))
    assert [nothing[name] for name in ("idf1", "idr", "mota", "hota")] == [0] * 4
    assert nothing["misses"] == FRAMES and np.isnan(nothing["idp"]) and np.isnan(nothing["motp"])
    ghost = scores(people(7), present=np.zeros((FRAMES, 1), bool))
    assert ghost["false_positives"] == FRAMES and ghost["objects"] == 0
    assert all(np.isnan(ghost[name]) for name in ("idf1", "idp", "idr", "mota", "motp", "hota", "det_a", "ass_a"))
    empty = scores(people(0), present=np.zeros((FRAMES, 1), bool))
    assert np.isnan(empty["idf1"]) and empty["misses"] == 0


def random_view(seed, frames=40, people=3, tracks=4):
    """Three people in and out of view, four tracks with gaps, two of which change over halfway."""
    rng = np.random.default_rng(seed)
    present = rng.random((frames, people)) < 0.85
    frame, track = np.nonzero(rng.random((frames, tracks)) < 0.8)
    similarity = rng.random((len(frame), people)) * 0.4
    person = (track + ((frame > frames // 2) & (track < 2))) % people
    similarity[np.arange(len(frame)), person] = rng.uniform(0.3, 1, len(frame))
    return similarity, frame, track, present


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, [0.2675659, 0.3865088, 0.1866877, 0.3507109, 0.3162393, 0.393617, 36, 59]),
        (1, [0.3668758, 0.4241688, 0.3178226, 0.4621849, 0.4104478, 0.5288462, 32, 62]),
        (2, [0.3522869, 0.3712045, 0.3351578, 0.4206009, 0.3769231, 0.4757282, 42, 69]),
    ],
)
def test_the_authors_own_evaluation_agrees(seed, expected):
    found = identity_scores(*random_view(seed))
    names = ("hota", "det_a", "ass_a", "idf1", "idp", "idr", "misses", "false_positives")
    np.testing.assert_allclose([found[name] for name in names], expected, atol=1e-6)
