"""Fitted bodies in the workflow: of a rendered body that trackers find, and of films."""

import bpy
import numpy as np
import pytest
from test_videos import film

from pose_factory.blender import actions, evaluate, importers
from pose_factory.bodies.motion import forward_kinematics
from pose_factory.files import read_about, read_json, read_table, write_table
from pose_factory.fitting.fitted import FittedBody, read_bodies
from pose_factory.geometry.joint_angles import joint_angles
from pose_factory.motion_export.upright import stand
from workflow import Workflow

VIEW = "results/eve/front"
MOTIONS = [f"motion{suffix}" for suffix in (".bvh", ".glb", ".fbx")]


@pytest.fixture(scope="module")
def fitted(person_view, tmp_path_factory) -> Workflow:
    """The body of a rendered dancer, its scores and its motions, and that of half a second of film of it."""
    folder = tmp_path_factory.mktemp("body")
    workflow = Workflow(person_view.parents[2]).copy(folder / "repository")
    workflow.change("videos", {"dance": str(film(folder / "dance.mp4", person_view / "frames", list(range(1, 13))))})
    made = [f"{VIEW}/{name}" for name in ("body_validation.json", *MOTIONS)]
    run = workflow.run("--cores", "2", *made, "results/videos/dance/motion.bvh")
    assert run.status == 0, run.console
    return workflow


@pytest.fixture(scope="module")
def body(fitted) -> FittedBody:
    bodies, fps = read_bodies(fitted.root / VIEW / "body.npz")
    assert fps == 24 and len(bodies) == 1
    return next(iter(bodies.values()))


def test_there_is_a_body_in_every_frame_of_the_track(fitted, body):
    people = read_table(fitted.root / VIEW / "people.parquet")
    assert body.frames.tolist() == people.frame.tolist() == list(range(1, 49))
    assert body.provenance.tolist() == people.provenance.tolist()
    report = read_json(fitted.root / VIEW / "body.json")["tracks"]
    assert [track["frames"] for track in report] == [48]
    assert report[0]["from_pixels_px"] < 8 and report[0]["from_landmarks_mm"] < 120
    assert 1.4 < report[0]["height_m"] < 2.1


def test_the_joint_angles_are_the_bodys(fitted, body):
    table = read_table(fitted.root / VIEW / "joint_angles.parquet")
    for name, degrees in joint_angles(body.joints()).items():
        np.testing.assert_allclose(table[table.angle == name].degrees, degrees)


def test_the_body_is_held_against_the_true_one(fitted):
    scores = read_json(fitted.root / VIEW / "body_validation.json")
    assert scores["frames"] == 48
    assert scores["fit"]["vertex_error_mm"] < 150
    assert scores["ratio"]["pa_mpjpe_mm"] < 1 and scores["ratio"]["angle_error_degrees"] < 1


@pytest.mark.parametrize("name", MOTIONS)
def test_the_motion_opens_in_blender(fitted, body, name):
    path = fitted.root / VIEW / name
    if name.endswith(".bvh"):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.import_anim.bvh(filepath=str(path), update_scene_fps=True)
    else:
        importers.load(path)
    (rig,) = (o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    _, first, last = actions.apply(rig, None)
    assert last - first == 47 and bpy.context.scene.render.fps == 24
    _, expected = forward_kinematics(body.body, stand(body))
    for row, _ in zip((0, 30), evaluate.each_frame((first, first + 30)), strict=True):
        found = [rig.matrix_world @ rig.pose.bones[bone].head for bone in body.body.bones]
        np.testing.assert_allclose(found, expected[row], atol=1e-3)


def test_a_complete_run_fits_no_bodies_where_it_shall_not(fitted, tmp_path):
    workflow = fitted.copy(tmp_path / "repository")
    workflow.change("body", {"fit": False})
    planned = workflow.plan("--forceall", "--config", "only=[eve]")
    assert "track eve front" in planned and not {job for job in planned if "body" in job}


def test_a_films_bodies_are_fitted_and_exported_as_a_views_are(fitted):
    folder = fitted.root / "results" / "videos" / "dance"
    (found,) = read_bodies(folder / "body.npz")[0].values()
    assert found.frames.tolist() == list(range(12))
    assert set(read_table(folder / "joint_angles.parquet").frame) == set(range(12))
    lines = (folder / "motion.bvh").read_text().splitlines()
    assert "Frames: 12" in lines and "Frame Time: 0.03333333" in lines


def test_what_cannot_be_exported_or_fitted_is_told_in_one_sentence(fitted, tmp_path):
    workflow = fitted.copy(tmp_path / "repository")
    (sentence,) = workflow.run("--cores", "2", f"{VIEW}/motion_77.bvh").sentences
    assert sentence.startswith("export_motion eve front _77 bvh: There is no track 77; ask for one of ")
    tracks = workflow.root / VIEW / "tracks.parquet"
    write_table(tracks, read_table(tracks), read_about(tracks) | {"backend": "hmr2"})
    (sentence,) = workflow.run("--cores", "2", f"{VIEW}/body.npz").sentences
    assert sentence.startswith(
        f"fit_body eve front: {VIEW}/tracks.parquet is hmr2's, whose bodies are in people.parquet"
    )
