"""The live fit: near the fit of the whole track, small, the same after pickling, and not shaken by bad frames."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from fitted import dancer
from perfect_tracker import NAMES, SIZE, noisy, perfect
from scipy.spatial.transform import Rotation

from pose_factory.errors import PoseFactoryError
from pose_factory.fitting import fit as fitting
from pose_factory.fitting.fit import LiveFit, fit
from pose_factory.fitting.prior import SHAPE
from pose_factory.tracking.people import DETECTED, PREDICTED
from pose_factory.validation.metrics import jitter, joint_errors, mpjpe, root_align

FPS, FRAMES = 24, 20
PHENOTYPE = SHAPE[:-1]


@pytest.fixture(scope="module")
def dance():
    return dancer(PHENOTYPE, "dance", frames=FRAMES, fps=FPS)


@pytest.fixture(scope="module")
def track(dance):
    return noisy(perfect(dance), metres=0.01, pixels=1.0)


@pytest.fixture(scope="module")
def followed(track):
    """The live bodies, and the live fit as it was pickled after each of them."""
    live, bodies, states = LiveFit(NAMES, FPS, SIZE), [], []
    for body in steps(live, track):
        bodies.append(body)
        states.append(pickle.dumps(live))
    return bodies, states


def steps(live, track, rows=None):
    for row in range(len(track)) if rows is None else rows:
        yield live.step(track.pose(row), track.provenance[row], int(track.frames[row]))


def joints(bodies):
    return root_align(np.concatenate([body.joints() for body in bodies]))


def same(one, other) -> bool:
    names = ("frames", "rotations", "translation", "phenotype")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


def test_it_follows_the_fit_of_the_whole_track(followed, track, dance):
    bodies, _ = followed
    whole = fit(track, NAMES, FPS, SIZE)
    assert [len(body) for body in bodies] == [1] * FRAMES
    assert [int(body.frames[0]) for body in bodies] == track.frames.tolist()
    assert mpjpe(joints(bodies)[4:], whole[4:].joints()) < 0.025
    assert mpjpe(joints(bodies), dance.joints()) < 0.035


def test_it_trembles_less_than_what_it_is_given(followed, track):
    bodies, _ = followed
    ours = jitter(joints(bodies), track.frames)
    alone = [LiveFit(NAMES, FPS, SIZE).step(track.pose(row), DETECTED, 1) for row in range(FRAMES)]
    assert ours < 0.8 * jitter(joints(alone), track.frames)


def test_its_memory_is_small_and_does_not_grow(followed):
    _, states = followed
    assert max(map(len, states)) < 40_000
    assert len(states[-1]) == pytest.approx(len(states[1]), abs=100)
    assert b"torch" not in states[-1]


def test_it_goes_on_after_pickling(followed, track):
    bodies, states = followed
    for row in (0, 7, 14):
        again = list(steps(pickle.loads(states[row]), track, range(row + 1, row + 4)))
        assert all(map(same, again, bodies[row + 1 : row + 4]))


def test_a_step_does_not_change_what_was_answered(followed, track):
    bodies, states = followed
    live = pickle.loads(states[5])
    (answer,) = steps(live, track, [6])
    before = pickle.dumps(answer)
    list(steps(live, track, [7, 8]))
    assert pickle.dumps(answer) == before


def test_the_shape_changes_only_after_1_2_4_8_frames(followed):
    bodies, _ = followed
    changes = [n for n in range(1, FRAMES) if bodies[n].phenotype.tobytes() != bodies[n - 1].phenotype.tobytes()]
    assert changes == [1, 2, 4, 8, 16]
    assert bodies[0].phenotype.tobytes() == PHENOTYPE.tobytes()
    for body in bodies:
        assert body.phenotype.shape == (6,) and (body.phenotype >= 0).all() and (body.phenotype <= 1).all()


def test_the_shape_still_changes_after_long(track, monkeypatch):
    monkeypatch.setattr(fitting, "MEMORY", 5)
    bodies = list(steps(LiveFit(NAMES, FPS, SIZE), track[:13]))
    changes = [n for n in range(1, 13) if bodies[n].phenotype.tobytes() != bodies[n - 1].phenotype.tobytes()]
    assert changes == [1, 2, 4, 5, 8, 10]


def test_the_shape_comes_to_that_of_the_whole_track():
    """Of a child, whom nobody expects."""
    child = perfect(dancer((0.5, 0.45, 0.5, 0.5, 0.4, 0.5), "wave", frames=18, fps=FPS))
    whole = fit(child, NAMES, FPS, SIZE)
    bodies = list(steps(LiveFit(NAMES, FPS, SIZE), child))
    first, last = (np.abs(bodies[row].phenotype - whole.phenotype).max() for row in (0, -1))
    assert last < 0.7 * first


def test_frames_out_of_order_and_after_long_are_found_afresh(followed, track):
    """A repeated frame, an earlier one, and one a minute later: as near as those in order are."""
    bodies, states = followed
    for frame in (track.frames[10], track.frames[3], 1, track.frames[10] + 60 * FPS):
        live = pickle.loads(states[10])
        after = live.step(track.pose(11), DETECTED, int(frame))
        assert int(after.frames[0]) == frame
        assert mpjpe(joints([after]), bodies[11].joints()) < 0.03
        (following,) = (live.step(track.pose(12), DETECTED, int(frame) + 1),)
        assert mpjpe(joints([following]), bodies[12].joints()) < 0.03


def test_a_quarter_turn_between_frames_is_followed(dance, track):
    rotations = dance.rotations.copy()
    rotations[8:, 0] = Rotation.from_rotvec([0, np.pi / 2, 0]).as_matrix() @ rotations[8:, 0]
    turned = replace(dance, rotations=rotations)
    bodies = list(steps(LiveFit(NAMES, FPS, SIZE), perfect(turned)[:12]))
    assert mpjpe(joints(bodies)[8:9], turned[8:9].joints()) < 0.1
    assert mpjpe(joints(bodies)[9:], turned[9:12].joints()) < 0.03


def test_sides_that_were_swapped_are_soon_right_again(dance, track):
    sides = {"left": "right", "right": "left"}
    other = [NAMES.index("_".join(sides.get(word, word) for word in name.split("_"))) for name in NAMES]
    live = LiveFit(NAMES, FPS, SIZE)
    list(steps(live, track[:8]))
    for row in range(8, 11):
        pose = track.pose(row)
        live.step(replace(pose, joints=pose.joints[other], pixels=pose.pixels[other]), DETECTED, row + 1)
    bodies = list(steps(live, track[11:15]))
    assert mpjpe(joints(bodies), dance[11:15].joints()) < 0.04


def test_a_failed_step_leaves_no_trace(followed, track):
    bodies, states = followed
    live = pickle.loads(states[6])
    for field in ("pixels", "joints", "confidence"):
        pose = track.pose(7)
        bad = replace(pose, **{field: np.full_like(getattr(pose, field), np.nan)})
        with pytest.raises(PoseFactoryError, match=f"Frame 8 .*{field}.* not finite"):
            live.step(bad, DETECTED, 8)
        assert pickle.dumps(live) == states[6]
    assert all(map(same, steps(live, track, [7, 8]), bodies[7:9]))


def test_a_step_that_fails_late_leaves_no_trace(followed, track, monkeypatch):
    bodies, states = followed
    for name in ("minimise", "fitted", "eliminated", "growth"):
        live = pickle.loads(states[6])  # after the next frame, the eighth, the shape is found again
        with monkeypatch.context() as patch:
            patch.setattr(fitting, name, lambda *_, **__: np.linalg.inv(np.zeros((1, 1))))
            with pytest.raises(np.linalg.LinAlgError):
                list(steps(live, track, [7]))
        assert all(map(same, steps(live, track, [7, 8]), bodies[7:9])), name


def test_predicted_frames_weigh_less(followed, track):
    _, states = followed
    pose = track.pose(7)
    moved = replace(pose, joints=pose.joints.copy())
    moved.joints[NAMES.index("left_wrist")] += [0.05, 0.05, 0.05]
    off = {}
    for word in (DETECTED, PREDICTED):
        usual, after = (joints([pickle.loads(states[6]).step(one, word, 8)]) for one in (pose, moved))
        off[word] = joint_errors(after, usual).mean()
    assert off[PREDICTED] < 0.5 * off[DETECTED]


def test_hopeless_frames_do_not_break_it(followed, track):
    bodies, states = followed
    live, pose = pickle.loads(states[10]), track.pose(11)
    for frame, bad in enumerate(
        (
            replace(pose, joints=0 * pose.joints, pixels=0 * pose.pixels),
            replace(pose, confidence=0 * pose.confidence),
            replace(pose, joints=100 * pose.joints, pixels=100 * pose.pixels),
        ),
        start=12,
    ):
        assert np.isfinite(live.step(bad, DETECTED, frame).joints()).all()
    after = [live.step(pose, DETECTED, frame) for frame in range(15, 20)]
    assert mpjpe(after[-1].joints(), bodies[11].joints()) < 0.05


def test_bad_settings_are_told_in_a_sentence(track):
    with pytest.raises(PoseFactoryError, match="left_hip"):
        LiveFit([name for name in NAMES if name != "left_hip"], FPS, SIZE)
    with pytest.raises(PoseFactoryError, match="frames a second"):
        LiveFit(NAMES, 0, SIZE).step(track.pose(0), DETECTED, 1)
