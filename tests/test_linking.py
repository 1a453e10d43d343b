"""Tracks that broke, joined again, and tracks that are not one person's, left alone."""

from dataclasses import replace

import motions
import numpy as np
import pytest

from pose_factory.association.linking import link
from pose_factory.tracking.people import Track

FPS, LONGEST = 30.0, 40


def part(first: int, last: int, look: float = 0.0, x: float = 100.0, height: float = 200.0) -> Track:
    """Somebody of one colour, standing at `x` from frame `first` to `last`, both included."""
    track = motions.track(motions.motion("wave")[: last - first + 1], first=first)
    box = np.tile([x - 30.0, 300 - height, x + 30.0, 300.0], (len(track), 1))
    return replace(track, box=box, appearance=np.full((len(track), 4), 500.0 * look))


def test_a_person_who_was_hidden_is_one_again():
    assert link({1: part(1, 20), 2: part(1, 60, look=2, x=400), 3: part(32, 60, x=120)}, FPS, LONGEST) == {3: 1}


def test_several_breaks_make_a_chain():
    assert link({1: part(1, 10), 2: part(20, 30), 5: part(40, 50)}, FPS, LONGEST) == {2: 1, 5: 2}


def test_two_who_cross_while_hidden_keep_their_looks():
    """Each reappears where the other went."""
    parts = {
        1: part(1, 10, x=100),
        2: part(1, 10, look=1, x=160),
        3: part(20, 40, look=1, x=100),
        4: part(20, 40, x=160),
    }
    assert link(parts, FPS, LONGEST) == {3: 2, 4: 1}


def test_of_two_who_look_alike_each_goes_on_where_it_was():
    parts = {1: part(1, 10, x=100), 2: part(1, 10, x=190), 3: part(20, 40, x=195), 4: part(20, 40, x=95)}
    assert link(parts, FPS, LONGEST) == {3: 2, 4: 1}


def test_wrong_frames_at_the_break_do_not_hide_who_it_is():
    broken = part(1, 20)
    broken.appearance[-4:] = 5000.0
    assert link({1: broken, 2: part(30, 50)}, FPS, LONGEST) == {2: 1}


@pytest.mark.parametrize(
    "later",
    [
        part(20, 40),  # both are there in frame 20
        part(20 + LONGEST + 1, 90),
        part(30, 50, look=1),
        part(22, 50, x=300),
        part(30, 50, height=400),
    ],
    ids=["at once", "too late", "other clothes", "too far", "too large"],
)
def test_who_cannot_be_the_same_is_not(later):
    assert link({1: part(1, 20), 2: later}, FPS, LONGEST) == {}


def test_a_moment_later_somebody_may_be_further_away():
    assert link({1: part(1, 20), 2: part(50, 70, x=400)}, FPS, LONGEST) == {2: 1}


def test_nobody_is_linked_to_nobody():
    assert link({}, FPS, LONGEST) == {}
    assert link({7: part(1, 5)}, FPS, LONGEST) == {}
