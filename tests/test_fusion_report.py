"""Tables of several views in; fused and repaired tables, their scores and a plot out."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from synthetic_person import boxes, camera, labels, tracks, walk

from pose_factory import tables, tracking
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_about, read_json, read_table, write_json, write_table
from pose_factory.geometry.fusion import MIRROR
from pose_factory.review import plots
from pose_factory.skeleton import JOINTS
from pose_factory.tracking.views import FUSED, FUSED_COLUMNS, fuse_views, fused_table, repair
from pose_factory.validation.fusion_report import ALL_VIEWS, View, fusion_report
from workflow import Workflow

AZIMUTHS = {"front": 0, "right": 90, "back_right": 135, "left": 270}
CAMERAS = {angle: camera(azimuth) for angle, azimuth in AZIMUTHS.items()}
SETTINGS = {"outlier_limit": 0.05, "min_views": 2}
WORLD = walk(20)
FRAMES = np.arange(1, 21)
NOBODY = pd.DataFrame(columns=list(tracking.COLUMNS)).astype(tracking.COLUMNS)


def exact(world=WORLD, track_id=1):
    return {angle: tracks(world, at, track_id=track_id) for angle, at in CAMERAS.items()}


def of_person(make, people):
    """The labels or boxes of several people, which `make(world, person)` has of one."""
    parts = [make(world, index) for index, world in enumerate(people)]
    return pd.concat(parts, ignore_index=True).sort_values(["frame", "person"], kind="stable", ignore_index=True)


def run(tracked, people=(WORLD,)):
    """The fused table, the repaired tracks by angle, fusion.json and the errors by frame."""
    cameras = [CAMERAS[angle] for angle in tracked]
    found = fuse_views(list(tracked.values()), cameras, FRAMES, len(people) == 1, SETTINGS)
    repaired = {
        angle: repair(table, found, index, CAMERAS[angle], FRAMES, SETTINGS)
        for index, (angle, table) in enumerate(tracked.items())
    }
    views = {
        angle: View(
            of_person(lambda world, person, at=CAMERAS[angle]: labels(world, at, person=person), people),
            of_person(lambda world, person, at=CAMERAS[angle]: boxes(world, at, person=person), people),
            table,
            repaired[angle],
            JOINTS,
            CAMERAS[angle],
        )
        for angle, table in tracked.items()
    }
    report, by_frame = fusion_report(found, views)
    json.dumps(report, allow_nan=False)
    fused = fused_table(found, FRAMES)
    assert {name: str(kind) for name, kind in fused.dtypes.items()} == FUSED_COLUMNS
    for table in repaired.values():
        assert {name: str(kind) for name, kind in table.dtypes.items()} == tracking.COLUMNS
    return fused, repaired, report, by_frame


def same(found, expected):
    """Whether two tables of tracks say the same, but for provenance and confidence."""
    named = ["frame", "track_id", "joint"]
    assert found[named].equals(expected[named])
    np.testing.assert_allclose(found[list("uvxyz")], expected[list("uvxyz")], atol=1e-6)


def test_perfect_trackers():
    fused, repaired, report, by_frame = run(exact())
    assert fused.frame.tolist() == np.repeat(FRAMES, 23).tolist() and fused.joint.tolist() == JOINTS * 20
    np.testing.assert_allclose(fused[list("xyz")], WORLD.reshape(-1, 3), atol=1e-9)
    assert (fused.views == 4).all() and (fused.person == 0).all() and (fused.residual_px < 1e-6).all()
    np.testing.assert_allclose(fused.confidence, 0.9)
    for angle, table in exact().items():
        same(repaired[angle], table)
        assert (repaired[angle].provenance == "detected").all()
    assert report["views"] == 4 and report["people"] == [{angle: [1] for angle in AZIMUTHS}]
    assert report["single"]["coverage"] == report["fused"]["coverage"] == 1
    assert max(report["fused"][name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "absolute_mm")) < 1e-3
    assert list(report["by_joint"]) == JOINTS and list(report["by_view"]) == list(AZIMUTHS)
    assert {view["rejected_joints"] for view in report["by_view"].values()} == {0}
    assert {view["tracked_joints"] for view in report["by_view"].values()} == {20 * 23}
    assert set(by_frame.series) == {*AZIMUTHS, ALL_VIEWS} and len(by_frame) == 5 * 20
    assert "note" not in report


def test_what_a_view_lacks_or_has_wrong_is_taken_from_the_others():
    tracked = exact()
    table = tracked["right"]
    wrist = (table.joint == "left_wrist") & table.frame.isin([3, 4])
    table.loc[wrist, ["u", "v"]] += 60
    deep = (table.joint == "nose") & (table.frame == 6)
    table.loc[deep, "z"] += 0.5
    for frame, columns in ((8, list("uvxyz")), (9, list("uv"))):
        values = table.loc[table.frame == frame, columns].to_numpy()
        table.loc[table.frame == frame, columns] = values[MIRROR]
    tracked["right"] = table[~table.frame.isin([11, 12])]

    fused, repaired, report, _ = run(tracked)
    np.testing.assert_allclose(fused[list("xyz")], WORLD.reshape(-1, 3), atol=1e-9)
    same(repaired["right"], exact()["right"])
    taken = repaired["right"][repaired["right"].provenance == FUSED]
    assert taken.groupby("frame").size().to_dict() == {3: 1, 4: 1, 6: 1, 8: 18, 9: 18, 11: 23, 12: 23}
    assert set(taken[taken.frame == 6].joint) == {"nose"}
    view = report["by_view"]["right"]
    assert (view["rejected_joints"], view["exchanged_frames"], view["tracked_joints"]) == (2, 2, 18 * 23)
    assert view["coverage"] == 0.9 and view["mpjpe_mm"] > 5 and view["pck_10"] < 0.9
    after = view["repaired"]
    assert (after["coverage"], after["pck_10"], after["fused_joints"]) == (1, 1, len(taken))
    assert after["mpjpe_mm"] < 1e-3
    assert report["by_joint"]["left_wrist"]["rejected_joints"] == 2
    assert report["single"]["mpjpe_mm"] == pytest.approx(view["mpjpe_mm"] / 4, rel=1e-3)


def test_a_wrong_hip_does_not_leave_the_pose_off_its_origin():
    tracked = exact()
    table = tracked["front"]
    hip = (table.joint == "left_hip") & (table.frame == 5)
    table.loc[hip, ["u", "x"]] += [80, 0.06]
    table.loc[table.frame == 5, "x"] -= 0.03
    _, repaired, _, _ = run(tracked)
    at_5 = repaired["front"][repaired["front"].frame == 5].set_index("joint")
    assert set(at_5.index[at_5.provenance == FUSED]) == {"left_hip"}
    np.testing.assert_allclose(at_5.loc[["left_hip", "right_hip"], list("xyz")].mean(), 0, atol=1e-9)


def test_one_view_is_not_fused_and_says_so():
    tracked = {"front": exact()["front"]}
    fused, repaired, report, by_frame = run(tracked)
    assert fused.empty
    same(repaired["front"], tracked["front"])
    assert report["note"] == "not fused: one view"
    assert report["fused"] == {
        "coverage": 0,
        **dict.fromkeys(["mpjpe_mm", "pa_mpjpe_mm", "absolute_mm", "residual_px"]),
    }
    assert report["single"]["coverage"] == 1 and report["single"]["mpjpe_mm"] < 1e-3
    assert by_frame[by_frame.series == ALL_VIEWS].mpjpe_mm.isna().all()


def test_one_view_that_finds_nobody_gets_the_others_pose():
    tracked = {**exact(), "left": NOBODY}
    _, repaired, report, _ = run(tracked)
    same(repaired["left"], exact(track_id=0)["left"])
    assert (repaired["left"].provenance == FUSED).all()
    view = report["by_view"]["left"]
    assert (view["coverage"], view["mpjpe_mm"], view["repaired"]["coverage"]) == (0, None, 1)


def test_tracks_of_other_frames_are_an_error():
    with pytest.raises(PoseFactoryError, match="frame 21, which the ground truth lacks"):
        run(exact(walk(22)))


def test_nobody_anywhere():
    fused, repaired, report, _ = run(dict.fromkeys(AZIMUTHS, NOBODY))
    assert fused.empty and all(table.empty for table in repaired.values())
    assert report["people"] == [] and report["fused"]["coverage"] == report["single"]["coverage"] == 0


def test_the_longest_track_of_each_view_is_the_person_where_there_is_one():
    tracked = exact()
    ghost = tracks(WORLD[:5] + [0.5, 0, 0], CAMERAS["front"], track_id=0)
    tracked["front"] = pd.concat([ghost, tracked["front"]]).sort_values(["frame", "track_id"], kind="stable")
    fused, repaired, report, _ = run(tracked)
    assert report["people"][0]["front"] == [1]
    np.testing.assert_allclose(fused[list("xyz")], WORLD.reshape(-1, 3), atol=1e-9)
    same(repaired["front"], tracked["front"].reset_index(drop=True))


# Several people


OTHER = walk(20, turns=0.3, seed=1) + [0.9, 0.4, 0]


def test_a_track_that_broke_is_the_person_in_all_its_parts():
    broken = exact()
    late = broken["front"].frame > 12
    broken["front"] = broken["front"].assign(track_id=np.where(late, 7, 1).astype("int32"))
    fused, repaired, report, _ = run(broken)
    assert fused.frame.nunique() == len(FRAMES)
    assert repaired["front"].track_id.unique().tolist() == [1]
    assert report["by_view"]["front"]["tracked_joints"] == len(FRAMES) * len(JOINTS)


def crowd():
    """Tracks of WORLD and OTHER, whose ids differ between the views."""
    return {
        angle: pd.concat([tracks(WORLD, at, track_id=3 + index % 2), tracks(OTHER, at, track_id=4 - index % 2)])
        .sort_values(["frame", "track_id"], kind="stable")
        .reset_index(drop=True)
        for index, (angle, at) in enumerate(CAMERAS.items())
    }


def test_people_keep_apart():
    fused, repaired, report, _ = run(crowd(), (WORLD, OTHER))
    for person, world in enumerate((WORLD, OTHER)):
        mine = fused[fused.person == person]
        np.testing.assert_allclose(mine[list("xyz")], world.reshape(-1, 3), atol=1e-9)
        assert report["people"][person] == {angle: [3 + (person + index) % 2] for index, angle in enumerate(AZIMUTHS)}
    for angle, table in crowd().items():
        same(repaired[angle], table)
    assert report["fused"]["coverage"] == 1 and report["fused"]["absolute_mm"] < 1e-3


def test_a_person_that_a_view_loses_is_put_back_and_a_broken_track_is_one_again():
    tracked = crowd()
    lost, broken = tracked["left"], tracked["front"]
    tracked["left"] = lost[lost.track_id == 4].reset_index(drop=True)  # the fourth view: 4 is WORLD
    tracked["front"] = broken.assign(
        track_id=broken.track_id.mask((broken.track_id == 3) & (broken.frame > 12), 9).astype("int32")
    )
    tracked["front"] = tracked["front"].sort_values(["frame", "track_id"], kind="stable", ignore_index=True)
    _, repaired, report, _ = run(tracked, (WORLD, OTHER))
    assert [person["front"] for person in report["people"]] == [[4], [3, 9]]
    same(repaired["front"], crowd()["front"])
    assert sorted(repaired["left"].track_id.unique()) == [4, 5]
    back = repaired["left"][repaired["left"].track_id == 5]
    np.testing.assert_allclose(back[["u", "v"]], tracks(OTHER, CAMERAS["left"])[["u", "v"]], atol=1e-6)
    assert (back.provenance == FUSED).all()
    assert report["by_view"]["left"]["repaired"]["coverage"] == 1 > report["by_view"]["left"]["coverage"]


def test_two_people_whom_a_view_loses_come_back_as_two():
    _, repaired, _, _ = run({**crowd(), "right": NOBODY}, (WORLD, OTHER))
    assert len(repaired["right"]) == 2 * 20 * 23 and sorted(repaired["right"].track_id.unique()) == [0, 1]


def test_a_person_outside_the_image_of_a_view_is_not_put_into_it():
    away = WORLD + np.where(FRAMES > 10, 3.0, 0.0)[:, None, None] * [0, 1, 0]
    tracked = exact(away)
    outside = ~CAMERAS["right"].inside(CAMERAS["right"].project(away)[0]).any(-1)
    assert outside.any() and not outside.all()
    tracked["right"] = NOBODY
    _, repaired, _, _ = run(tracked, (away,))
    assert set(repaired["right"].frame) == set(FRAMES[~outside])


# The plot and the rule


def test_the_plot_has_a_line_a_view_and_is_the_same_each_time(tmp_path):
    *_, by_frame = run(exact())
    for name in ("a.svg", "b.svg"):
        plots.views_against_fused(by_frame, ALL_VIEWS, "ada", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = " ".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())
    assert "each of 4 views alone" in text and "ada: one view against all views fused" in text


def test_a_plot_of_nothing_is_empty(tmp_path):
    *_, by_frame = run(dict.fromkeys(AZIMUTHS, NOBODY))
    plots.views_against_fused(by_frame, ALL_VIEWS, "ada", tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


@pytest.fixture
def workflow(tmp_path):
    """The workflow with what the rule needs of two views of one character."""
    config = {"characters": {"doll": {"anny": {}}}, "cameras": {"angles": {"front": 0, "right": 90}}}
    made = Workflow.new(tmp_path / "repository", config)
    for angle in ("front", "right"):
        folder, at = made.root / "results" / "doll" / angle, CAMERAS[angle]
        write_table(folder / "ground_truth.parquet", labels(WORLD, at), tables.GROUND_TRUTH)
        write_table(folder / "boxes.parquet", boxes(WORLD, at), tables.BOXES)
        write_table(folder / "tracks.parquet", exact()[angle], tables.TRACKS | {"joints": JOINTS, "backend": "test"})
        described = {"K": at.K.tolist(), "R": at.R.tolist(), "t": at.t.tolist(), "width": at.width, "height": at.height}
        write_json(folder / "camera.json", described)
    return made


def test_the_rule_fuses_the_views_of_the_config(workflow):
    targets = ["--cores", "1", "--allowed-rules", "fuse", "--", "results/doll/fusion.json"]
    run = workflow.run(*targets)
    assert run.status == 0, run.console
    folder = workflow.root / "results" / "doll"
    assert len(read_table(folder / "fused.parquet")) == 20 * 23
    assert read_about(folder / "fused.parquet")["schema"] == "fused/1"
    about = read_about(folder / "front" / "repaired.parquet")
    assert (about["schema"], about["joints"], about["backend"]) == ("repaired/1", JOINTS, "test")
    assert read_json(folder / "fusion.json")["fused"]["absolute_mm"] < 1e-3
    assert (folder.parent / "review" / "doll_fused.svg").exists()

    workflow.change("cameras.angles", {"front": 0})
    run = workflow.run(*targets)
    assert run.status == 0, run.console
    assert read_json(folder / "fusion.json")["note"] == "not fused: one view"
    assert read_table(folder / "fused.parquet").empty


def test_one_view_cannot_be_called_enough(workflow):
    workflow.change("fusion", {"min_views": 1})
    run = workflow.run("--cores", "1", "--dry-run")
    assert run.status != 0 and not run.started
    assert "fusion.min_views" in run.console and "at least 2" in run.console
