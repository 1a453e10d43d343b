"""validation.json and its summaries on synthetic views."""

import json

import numpy as np
import pandas as pd
import pytest
from synthetic_person import boxes, camera, labels, tracks, walk

from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.validation import report, rig_bias

WORLD = walk(40)
AT = camera(45)


def validate(table, truth=None, world=WORLD, at=AT, thresholds=None, fps=30.0, joint_set=JOINTS):
    truth = labels(world, at) if truth is None else truth
    validation, joints = report.validate_view(truth, boxes(world, at), table, joint_set, at, fps, thresholds or {})
    json.dumps(validation, allow_nan=False)
    assert joints.joint.tolist() == JOINTS and (joints.person == 0).all()
    return validation, joints


def view_of(table, world=WORLD, at=AT):
    """What `report.pool` takes for one view."""
    return labels(world, at), boxes(world, at), table, JOINTS, at


def biased(world):
    offsets = np.random.default_rng(0).normal(0, 0.06, (23, 3))
    return world + np.einsum("fab,jb->fja", rig_bias.body_frames(world), offsets), offsets * 1000


def test_a_perfect_tracker():
    validation, joints = validate(
        tracks(WORLD, AT), thresholds={"coverage": 1, "pck_05": 1, "ap": 1, "mpjpe_mm": 0.001}
    )
    assert validation["passed"] and validation["failures"] == []
    assert validation["coverage"] == 1 and validation["detected_coverage"] == 1
    assert validation["by_gap"] == {}
    assert validation["azimuth"] == 45
    assert validation["joint_set"] == JOINTS
    pooled = report.pool({"front": view_of(tracks(WORLD, AT))}, 30.0)
    for scores in (validation["as_labelled"], pooled["without_rig_bias"]["front"]):
        assert [scores[name] for name in ("pck_05", "pck_10", "ap", "ap50", "ap75")] == [1] * 5
        assert scores["oks_mean"] == pytest.approx(1)
        errors = [scores[name] for name in report.AT_MOST]
        np.testing.assert_allclose(errors, 0, atol=1e-6)
    assert (joints.n == 40).all() and (joints.n_visible == 40).all() and (joints.n_occluded == 0).all()


def test_rig_bias_is_told_from_error():
    seen, offsets = biased(WORLD)
    validation, joints = validate(tracks(seen, AT))
    assert validation["as_labelled"]["mpjpe_mm"] > 50
    scores = report.pool({"front": view_of(tracks(seen, AT))}, 30.0)["without_rig_bias"]["front"]
    assert list(scores) == list(validation["as_labelled"])
    assert scores["mpjpe_mm"] < 1e-3
    assert scores["oks_mean"] == pytest.approx(1, abs=1e-6)
    found = validation["rig_bias_mm"]
    np.testing.assert_allclose([found["0"][joint] for joint in JOINTS], offsets, atol=1e-3)
    assert "hip" in found["frame"]
    np.testing.assert_allclose(joints[["rig_bias_x_mm", "rig_bias_y_mm", "rig_bias_z_mm"]], offsets, atol=1e-3)


def test_a_views_own_error_is_not_taken_for_rig_bias():
    """A tracker wrong by a constant in one view of many: fitted to that view alone, the bias would hide it."""
    world = walk(40, turns=0)
    shifted = world + np.where(np.arange(23)[:, None] == INDEX["nose"], [0.2, 0, 0], 0)
    views = {
        f"at_{azimuth}": view_of(tracks(world, camera(azimuth)), world, camera(azimuth)) for azimuth in (0, 90, 45)
    }
    views["wrong"] = view_of(tracks(shifted, AT), world)
    pooled = report.pool(views, 30.0)
    assert np.linalg.norm(pooled["offset_mm"]["0"]["nose"]) < 20
    scores = pooled["without_rig_bias"]
    assert scores["wrong"]["mpjpe_mm"] == pytest.approx(200 / 23, rel=0.1)
    assert scores["at_0"]["mpjpe_mm"] < 1


def test_a_pool_takes_the_nearest_poses_and_views_without_any():
    seen, offsets = biased(WORLD)
    passer_by = tracks(WORLD + [0.5, 0, 0], AT, track_id=0)
    views = {
        "crowded": view_of(pd.concat([passer_by[passer_by.frame < 20], tracks(seen, AT)])),
        "empty": view_of(tracks(seen, AT).iloc[:0]),
    }
    pooled = report.pool(views, 30.0)
    np.testing.assert_allclose([pooled["offset_mm"]["0"][joint] for joint in JOINTS], offsets, atol=1e-3)
    assert pooled["without_rig_bias"]["crowded"]["pck_10"] == 1
    assert pooled["without_rig_bias"]["empty"]["pck_10"] == 0
    assert pooled["without_rig_bias"]["empty"]["mpjpe_mm"] is None
    assert "note" not in pooled


def test_a_pool_of_too_few_frames_says_so():
    few = rig_bias.MIN_FRAMES // 2
    world = WORLD[: few - 1]
    views = {azimuth: view_of(tracks(world, camera(azimuth)), world, camera(azimuth)) for azimuth in (0, 90)}
    pooled = report.pool(views, 30.0)
    assert f"it takes {rig_bias.MIN_FRAMES} frames" in pooled["note"]
    assert pooled["offset_mm"]["0"] == pooled["spread_mm"]["0"] == pooled["frames"]["0"] == {}
    assert {value for scores in pooled["without_rig_bias"].values() for value in scores.values()} == {None}
    world = WORLD[:few]
    views = {azimuth: view_of(tracks(world, camera(azimuth)), world, camera(azimuth)) for azimuth in (0, 90)}
    assert set(report.pool(views, 30.0)["frames"]["0"].values()) == {rig_bias.MIN_FRAMES}


def test_missed_frames_cost_scores_but_not_errors():
    table = tracks(WORLD, AT)
    validation, _ = validate(table[table.frame <= 30], thresholds={"coverage": 0.9, "mpjpe_mm": 1, "pck_10": 0.7})
    assert validation["coverage"] == 0.75
    assert validation["as_labelled"]["pck_10"] == 0.75
    assert validation["as_labelled"]["oks_mean"] == pytest.approx(0.75)
    assert validation["as_labelled"]["ap"] == pytest.approx(76 / 101)
    assert validation["as_labelled"]["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert validation["failures"] == ["coverage 0.75 is below 0.9"]
    assert not validation["passed"]


def test_provenance_visibility_and_joints_are_kept_apart():
    seen = WORLD.copy()
    wrist = INDEX["left_wrist"]
    seen[30:, wrist] += [0.3, 0, 0]
    visibility = np.full((40, 23), 2)
    visibility[30:, wrist] = 1
    table = tracks(seen, AT)
    table["provenance"] = np.where(table.frame <= 30, "detected", "interpolated")
    validation, joints = validate(table, labels(WORLD, AT, visibility=visibility))
    by_provenance = validation["by_provenance"]
    assert list(by_provenance) == ["detected", "interpolated"]
    assert by_provenance["detected"]["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert by_provenance["interpolated"]["mpjpe_mm"] == pytest.approx(300 / 23)
    assert (by_provenance["interpolated"]["frames"], by_provenance["interpolated"]["coverage"]) == (10, 0.25)
    assert validation["by_visibility"]["visible"]["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert validation["by_visibility"]["occluded"]["mpjpe_mm"] == pytest.approx(300)
    assert validation["by_visibility"]["occluded"]["joints"] == 10
    assert validation["by_joint"]["left_wrist"]["mpjpe_mm"] == pytest.approx(75)
    row = joints.set_index("joint").loc["left_wrist"]
    assert (row.n_visible, row.n_occluded) == (30, 10)
    assert row.mpjpe_occluded_mm == pytest.approx(300)
    assert row.median_mm == pytest.approx(0, abs=1e-9)


def test_acceleration_is_per_second_squared_whatever_the_frame_step():
    time = np.arange(40.0)[:, None]
    seen = WORLD.copy()
    seen[:, INDEX["nose"]] += 0.5 * time**2 * [0.0002, 0, 0]
    every, _ = validate(tracks(seen, AT), fps=24.0)
    frames = np.arange(1, 41)[::3]
    third, _ = report.validate_view(
        labels(WORLD[::3], AT, frames),
        boxes(WORLD[::3], AT, frames),
        tracks(seen[::3], AT, frames),
        JOINTS,
        AT,
        24.0,
        {},
    )
    for validation in (every, third):
        assert validation["as_labelled"]["acceleration_error_mm_per_frame2"] == pytest.approx(0.2 / 23)
        assert validation["as_labelled"]["acceleration_error_m_per_s2"] == pytest.approx(0.0002 * 24**2 / 23)


@pytest.mark.parametrize("table", [tracks(WORLD, AT).iloc[:0], pd.DataFrame(columns=tracks(WORLD, AT).columns)])
def test_no_detection_at_all(table):
    validation, joints = validate(table, thresholds={"coverage": 0.9, "pck_10": 0.8})
    scores = {**validation, **validation["as_labelled"], **validation["identity"]}
    assert {name: scores[name] for name in report.AT_LEAST} == dict.fromkeys(report.AT_LEAST, 0)
    assert {scores[name] for name in report.AT_MOST} == {None}
    assert (scores["tracks"], scores["misses"], scores["false_positives"]) == (0, 40, 0)
    assert validation["people"]["0"]["tracks"] == []
    assert validation["by_gap"] == {">30": {**validation["by_visibility"]["visible"], "frames": 40, "coverage": 0}}
    assert validation["joint_set"] == JOINTS and validation["by_provenance"] == {}
    assert validation["by_joint"] == dict.fromkeys(JOINTS, {"mpjpe_mm": None, "pck_10": 0})
    assert validation["failures"] == ["coverage 0 is below 0.9", "pck_10 0 is below 0.8"]
    assert joints.mpjpe_mm.isna().all() and (joints.pck_10 == 0).all() and (joints.n_labelled == 40).all()


def test_one_frame():
    validation, _ = validate(tracks(WORLD[:1], AT), world=WORLD[:1])
    assert validation["as_labelled"]["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert validation["as_labelled"]["acceleration_error_m_per_s2"] is None
    assert validation["rig_bias_mm"]["0"] == {}
    assert set(validation["coherence"].values()) == {None}


def test_no_annotated_joint():
    nobody = np.full_like(WORLD, np.nan)
    validation, _ = validate(tracks(WORLD, AT), labels(nobody, AT), world=nobody)
    assert validation["coverage"] is None, "nobody can be told to be there"
    assert set(validation["as_labelled"].values()) == {None}
    assert validation["identity"]["idf1"] is None and validation["identity"]["objects"] == 0


def test_one_annotated_joint():
    nose = np.where(np.arange(23)[:, None] == INDEX["nose"], WORLD, np.nan)
    validation, _ = validate(tracks(WORLD, AT), labels(nose, AT))
    assert validation["joint_set"] == ["nose"]
    assert validation["as_labelled"]["pck_10"] == 1
    assert validation["as_labelled"]["mpjpe_mm"] is None, "without hips there is nothing to align at"


def test_joints_the_tracker_does_not_give_are_not_scored():
    seen = WORLD.copy()
    seen[:, [INDEX["spine"], INDEX["nose"]]] = np.nan
    given = [joint for joint in JOINTS if joint not in ("spine", "nose")]
    validation, joints = validate(tracks(seen, AT), joint_set=given)
    assert validation["joint_set"] == given
    assert validation["as_labelled"]["pck_10"] == 1
    assert validation["as_labelled"]["oks_mean"] == pytest.approx(1)
    assert joints.set_index("joint").n_labelled["spine"] == 0


def test_the_nearest_pose_is_scored_and_others_are_false_positives():
    short, long = tracks(WORLD + [0.5, 0, 0], AT, track_id=3), tracks(WORLD, AT, track_id=7)
    validation, _ = validate(pd.concat([short[short.frame <= 20], long]))
    assert validation["tracks"] == 2 and validation["people"]["0"]["tracks"] == [7]
    scores, identity = validation["as_labelled"], validation["identity"]
    assert scores["pck_10"] == 1
    assert scores["ap"] == pytest.approx(40 / 60), "of equally sure poses the wrong ones count first"
    assert identity["false_positives"] == 20 and identity["misses"] == identity["switches"] == 0
    assert identity["mota"] == pytest.approx(1 - 20 / 40)
    assert identity["idf1"] == pytest.approx(2 * 40 / (40 + 60))


def test_tables_that_do_not_fit_are_refused():
    table, truth = tracks(WORLD, AT), labels(WORLD, AT)
    with pytest.raises(PoseFactoryError, match="threshold 'pck_20'"):
        validate(table, thresholds={"pck_20": 0.5})
    with pytest.raises(PoseFactoryError, match="frame 11, which the ground truth lacks"):
        validate(table, truth[truth.frame <= 10])
    with pytest.raises(PoseFactoryError, match="joint 'tail'"):
        validate(table.assign(joint="tail"))
    with pytest.raises(PoseFactoryError, match="two rows"):
        validate(pd.concat([table, table]))
    with pytest.raises(PoseFactoryError, match="lacks a person in some"):
        validate(table, pd.concat([truth, truth[truth.frame > 3].assign(person=1)]))
    with pytest.raises(PoseFactoryError, match="Frame 6 has labelled joints but no box"):
        report.validate_view(truth, boxes(WORLD[:5], AT), table, JOINTS, AT, 30.0, {})


@pytest.mark.parametrize("azimuth", range(0, 360, 45))
def test_azimuth_is_the_cameras(azimuth):
    validation, _ = validate(tracks(WORLD[:2], camera(azimuth)), world=WORLD[:2], at=camera(azimuth))
    assert validation["azimuth"] == pytest.approx(azimuth)


def test_summaries():
    seen, offsets = biased(WORLD)
    views, validations, joint_tables = {"a": {}, "b": {}}, [], []
    for character, angle, azimuth, drawn in (("a", "front", 0, 3.5), ("a", "right", -270, 0), ("b", "front", 0, -2)):
        at = camera(azimuth + drawn)
        table = tracks(seen, at) if character == "a" else tracks(WORLD, at).iloc[:0]
        validation, joints = validate(table, at=at)
        validations.append((character, angle, azimuth, validation))
        joint_tables.append(joints)
        views[character][angle] = view_of(table, at=at)
    pooled = {character: report.pool(of_character, 30.0) for character, of_character in views.items()}
    summary = report.summarise(validations, pooled)
    assert summary.camera_angle.tolist() == ["front", "right", "front"]
    assert summary.mpjpe_mm.isna().tolist() == [False, False, True]
    assert (summary.mpjpe_mm_without_rig_bias < summary.mpjpe_mm)[:2].all()
    assert summary.pck_10_without_rig_bias[1] == pooled["a"]["without_rig_bias"]["right"]["pck_10"]
    assert summary.pck_10[2] == 0 and np.isnan(summary.pck_10_without_rig_bias[2])
    assert report.summarise([], {}).empty

    by_azimuth = report.error_by_azimuth(summary).set_index("azimuth")
    assert by_azimuth.views.to_dict() == {0: 2, 90: 1}
    assert by_azimuth.coverage.to_dict() == {0: 0.5, 90: 1}
    assert by_azimuth.mpjpe_mm[0] == pytest.approx(summary.mpjpe_mm[0])

    by_joint = report.error_by_joint(pd.concat(joint_tables))
    assert by_joint.joint.tolist() == JOINTS
    assert (by_joint.n == 80).all()
    expected = (joint_tables[0].mpjpe_mm + joint_tables[1].mpjpe_mm) / 2
    np.testing.assert_allclose(by_joint.mpjpe_mm, expected)
    half = tracks(WORLD, AT)
    half = validate(half[half.frame <= 20])[1]
    both = report.error_by_joint(pd.concat([half, validate(tracks(WORLD, AT))[1]]))
    np.testing.assert_allclose(both.pck_10, 0.75)
    nose = joint_tables[0].iloc[[0]]
    parts = [
        nose.assign(mpjpe_visible_mm=value, n_visible=count) for value, count in ((10.0, 1), (40.0, 2), (np.nan, 3))
    ]
    assert report.error_by_joint(pd.concat(parts)).mpjpe_visible_mm[0] == pytest.approx((10 + 2 * 40) / 3)

    np.testing.assert_allclose([pooled["a"]["offset_mm"]["0"][joint] for joint in JOINTS], offsets, atol=1e-3)
    assert set(pooled["a"]["frames"]["0"].values()) == {80}
    json.dumps(pooled, allow_nan=False)
