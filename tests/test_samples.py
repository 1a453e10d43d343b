"""Whose each tracked pose is: several people, hidden and outside the image, and what follows for the scores."""

import numpy as np
import pandas as pd
import pytest
from synthetic_person import boxes, camera, labels, tracks, walk

from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.validation import report, rig_bias, samples

FRAMES = 60
AT = camera(0)
MIDDLE = slice(20, 40)


def crossing(people=3):
    """(people, FRAMES, 23, 3): people on parallel lanes one behind the other who walk past each other in the image."""
    path = np.linspace(-1, 1, FRAMES)[:, None, None] * [0.5, 0, 0]
    lanes = [[0, 0.6 * person, 0] + path * (1 - person) for person in range(people)]
    return np.stack([walk(FRAMES, turns=0, seed=person) + lane for person, lane in enumerate(lanes)])


WORLDS = crossing()


def truth(worlds=WORLDS, visibility=None, at=AT):
    """The ground truth and boxes tables; `visibility` {person: (F, 23) of visibility states}."""
    states = visibility or {}
    tables = [labels(world, at, visibility=states.get(i, 2), person=i) for i, world in enumerate(worlds)]
    order = ["frame", "person"]
    all_boxes = pd.concat([boxes(world, at, person=i) for i, world in enumerate(worlds)])
    labelled = pd.concat(tables).sort_values(order, kind="stable", ignore_index=True)
    return labelled, all_boxes.sort_values(order, ignore_index=True)


def followed(ids=(11, 12, 13), worlds=WORLDS):
    """A tracker that sees everybody exactly."""
    tables = [tracks(world, AT, track_id=name) for name, world in zip(ids, worlds, strict=True)]
    return pd.concat(tables, ignore_index=True)


def exchange(table, a, b, frames):
    """The table with the names of tracks `a` and `b` exchanged in `frames`."""
    there = table.frame.isin(frames)
    return table.assign(track_id=table.track_id.mask(there, table.track_id.replace({a: b, b: a})))


def validate(table, labelled=None, at=AT):
    ground_truth, all_boxes = labelled or truth()
    return report.validate_view(ground_truth, all_boxes, table, JOINTS, at, 30.0, {})


def test_each_pose_goes_to_the_nearest_person_one_to_one():
    row = np.array([0, 0, 1, 2, 2, 2])
    distance = np.array([[0.1, 0.2], [0.05, 0.4], [0.3, np.nan], [0.49, 0.6], [0.5, 0.51], [np.nan, np.nan]])
    # Together 0.05 + 0.2 beats 0.1 + 0.4; half a person away is nobody's.
    assert samples.assign(row, distance).tolist() == [1, 0, 0, 0, -1, -1]
    assert samples.assign(np.empty(0, int), np.empty((0, 2))).tolist() == []


def test_three_people_who_cross_are_each_scored_on_their_own_pose():
    validation, joints = validate(followed())
    assert validation["as_labelled"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert validation["as_labelled"]["ap"] == validation["coverage"] == 1
    assert {name: person["tracks"] for name, person in validation["people"].items()} == {
        "0": [11],
        "1": [12],
        "2": [13],
    }
    identity = validation["identity"]
    assert identity["idf1"] == identity["mota"] == 1 and identity["hota"] == pytest.approx(1)
    assert identity["objects"] == 3 * FRAMES and validation["frames"] == FRAMES and validation["tracks"] == 3
    assert joints.person.tolist() == np.repeat([0, 1, 2], 23).tolist()
    assert list(joints.joint) == JOINTS * 3 and (joints.n == FRAMES).all()
    assert validation["by_joint"]["nose"]["pck_10"] == 1


def test_tracks_exchanged_at_the_crossing_cost_identity_and_no_millimetres():
    validation, _ = validate(exchange(followed(), 11, 13, range(31, FRAMES + 1)))
    assert validation["as_labelled"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    identity = validation["identity"]
    assert (identity["switches"], identity["misses"], identity["false_positives"]) == (2, 0, 0)
    assert identity["idf1"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert identity["mota"] == pytest.approx(1 - 2 / (3 * FRAMES))
    assert validation["people"]["0"]["tracks"] == [11, 13] and validation["people"]["1"]["tracks"] == [12]


def test_scores_are_of_all_people_and_of_each():
    table = followed()
    lost = (table.track_id == 12) & (table.frame > 30)
    wrist = (table.track_id == 13) & (table.joint == "left_wrist")
    table["x"] += np.where(wrist, 0.23, 0)
    validation, joints = validate(table[~lost])
    assert validation["coverage"] == validation["detected_coverage"] == pytest.approx(2.5 / 3)
    assert [validation["people"][name]["coverage"] for name in "012"] == [1, 0.5, 1]
    assert validation["people"]["2"]["mpjpe_mm"] == pytest.approx(10)
    assert validation["people"]["0"]["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert validation["as_labelled"]["mpjpe_mm"] == pytest.approx(10 / 2.5)
    assert validation["as_labelled"]["pck_10"] == pytest.approx(2.5 / 3)
    assert validation["by_joint"]["left_wrist"]["mpjpe_mm"] == pytest.approx(230 / 2.5)
    assert validation["by_gap"] == {
        "16-30": {"frames": 30, "coverage": 0, "joints": 690, "pck_05": 0, "pck_10": 0, "mpjpe_mm": None}
    }
    assert validation["identity"]["misses"] == 30
    assert joints.n_labelled.tolist() == [FRAMES] * 69


def hidden(person=1, frames=MIDDLE):
    states = np.full((FRAMES, 23), 2)
    states[frames] = 1
    return {person: states}


def test_somebody_wholly_hidden_need_not_be_found_and_may_be_bridged():
    labelled, table = truth(visibility=hidden()), followed()
    bridged, _ = validate(table, labelled)
    gap = (table.track_id == 12) & table.frame.between(21, 40)
    lost, _ = validate(table[~gap], labelled)
    for validation in (bridged, lost):
        identity = validation["identity"]
        assert identity["mota"] == identity["idf1"] == 1
        assert (identity["misses"], identity["false_positives"]) == (0, 0)
        assert identity["objects"] == 3 * FRAMES - 20
    assert (bridged["coverage"], lost["coverage"]) == (1, pytest.approx(1 - 20 / (3 * FRAMES)))
    # A bridge that drifts by a third of a body is near enough; one that goes astray is a false positive.
    drifted = table.assign(u=table.u + np.where(gap, 80, 0))
    astray = table.assign(u=table.u + np.where(gap, -150, 0))
    assert validate(drifted, labelled)[0]["identity"]["false_positives"] == 0
    assert validate(astray, labelled)[0]["identity"]["false_positives"] == 20
    # With one joint to be seen there is somebody to be found.
    labelled[0].loc[(labelled[0].person == 1) & (labelled[0].joint == "nose"), "visibility"] = 2
    assert validate(table[~gap], labelled)[0]["identity"]["misses"] == 20


def test_somebody_outside_the_image_need_not_be_found_and_may_be_followed():
    worlds = WORLDS.copy()
    worlds[2, 40:] += [5, 0, 0]
    labelled = truth(worlds)
    outside = labelled[1].person.eq(2) & labelled[1].frame.gt(40)
    without_box = labelled[0], labelled[1][~outside]
    table = followed(worlds=worlds)
    followed_out, _ = validate(table, without_box)
    lost, _ = validate(table[~((table.track_id == 13) & (table.frame > 40))], without_box)
    assert {**followed_out, "rig_bias_mm": None} == {**lost, "rig_bias_mm": None}
    assert followed_out["coverage"] == 1 and followed_out["people"]["2"]["frames"] == 40
    assert followed_out["identity"]["mota"] == followed_out["as_labelled"]["ap"] == 1
    gone = (table.track_id == 13) & (table.frame > 40)
    assert validate(table.assign(u=table.u.mask(gone, 50.0)), without_box)[0]["identity"]["false_positives"] == 20
    further = validate(table.assign(u=table.u.mask(gone, 2000.0)), without_box)[0]
    assert further["identity"]["false_positives"] == 0 and further["as_labelled"]["ap"] == 1


def test_a_pose_that_trails_somebody_who_has_just_left_the_image_is_no_false_positive():
    worlds = WORLDS.copy()
    worlds[2, 40:] += [(410 - AT.project(worlds[2, 40:])[0][..., 0].min()) * 5.2 / 600, 0, 0]
    labelled = truth(worlds)
    assert not labelled[0][(labelled[0].person == 2) & (labelled[0].frame > 40)].inside.any()
    table = followed(worlds=worlds)
    gone = (table.track_id == 13) & (table.frame > 40)
    trailing = table.assign(u=table.u - np.where(gone, 60, 0))
    assert trailing[gone].u.lt(400).groupby(trailing.frame).any().all()
    without_box = labelled[0], labelled[1][~(labelled[1].person.eq(2) & labelled[1].frame.gt(40))]
    for known in (labelled, without_box):
        assert validate(trailing, known)[0]["identity"]["false_positives"] == 0


def test_a_pose_far_from_everybody_covers_nobody():
    table = tracks(WORLDS[0] + [0.95, 0, 0], AT)
    validation, _ = validate(table, truth(WORLDS[:1]))
    assert validation["coverage"] == 0
    assert validation["identity"]["false_positives"] == FRAMES == validation["identity"]["misses"]
    assert validation["as_labelled"]["ap"] == 0 and validation["as_labelled"]["mpjpe_mm"] is None


def test_gaps_are_scored_by_their_length():
    world = WORLDS[0]
    seen = world.copy()
    filled = {1: [3], 5: range(10, 15), 15: range(20, 35), 16: range(40, 56)}
    for length, frames in filled.items():
        seen[np.array(frames) - 1, INDEX["nose"]] += [0.023 * length, 0, 0]
    table = tracks(seen, AT)
    table["provenance"] = table.provenance.mask(
        table.frame.isin([i for f in filled.values() for i in f]), "interpolated"
    )
    table["provenance"] = table.provenance.mask(table.frame == 12, "redetected")
    validation, _ = validate(table[table.frame != 13], truth(WORLDS[:1]))
    assert {name: gap["frames"] for name, gap in validation["by_gap"].items()} == {
        "1": 1,
        "2-5": 5,
        "6-15": 15,
        "16-30": 16,
    }
    errors = {name: gap["mpjpe_mm"] for name, gap in validation["by_gap"].items()}
    assert errors == pytest.approx({"1": 1, "2-5": 5, "6-15": 15, "16-30": 16})
    assert validation["by_gap"]["2-5"]["coverage"] == 0.8, "a frame without any pose is part of the gap"
    assert validation["coverage"] == pytest.approx(1 - 1 / FRAMES)
    assert validation["detected_coverage"] == pytest.approx(1 - 37 / FRAMES)
    assert validation["by_provenance"]["redetected"]["frames"] == 1
    never, _ = validate(table.assign(provenance="predicted"), truth(WORLDS[:1]))
    assert never["detected_coverage"] == 0 and never["by_gap"][">30"]["frames"] == FRAMES


def test_jitter_is_beside_the_truths_and_does_not_see_other_peoples():
    shaken = WORLDS[0] + np.where(np.arange(23)[:, None] == INDEX["nose"], [0.001, 0, 0], 0) * (
        np.arange(FRAMES)[:, None, None] % 2
    )
    validation, _ = validate(followed(worlds=[shaken, *WORLDS[1:]]))
    coherence = validation["coherence"]
    alone = [validate(tracks(world, AT), truth([world]))[0]["coherence"] for world in WORLDS]
    expected = np.mean([one["jitter_of_truth_m_per_s3"] for one in alone])
    assert coherence["jitter_of_truth_m_per_s3"] == pytest.approx(expected)
    assert alone[0]["jitter_m_per_s3"] == pytest.approx(alone[0]["jitter_of_truth_m_per_s3"])
    # +-1 mm from frame to frame has third differences of 4 * 2 / 2 mm a frame^3: one joint of 69.
    assert coherence["jitter_m_per_s3"] == pytest.approx(expected + 0.004 * 30**3 / 69, rel=0.02)


def test_rig_bias_is_each_persons_own():
    worlds = [walk(40, seed=0), walk(40, seed=1) + [1.2, 0, 0]]
    offsets = [np.full((23, 3), 0.03), np.full((23, 3), -0.02)]
    ground_truth, all_boxes = truth(worlds)
    seen = [w + np.einsum("fab,jb->fja", rig_bias.body_frames(w), o) for w, o in zip(worlds, offsets, strict=True)]
    pooled = report.pool({"front": (ground_truth, all_boxes, followed((5, 6), seen), JOINTS, AT)}, 30.0)
    for name, offset in zip("01", offsets, strict=True):
        np.testing.assert_allclose([pooled["offset_mm"][name][joint] for joint in JOINTS], offset * 1000, atol=1e-3)
        assert set(pooled["frames"][name].values()) == {40}
    assert pooled["without_rig_bias"]["front"]["mpjpe_mm"] < 1e-3
