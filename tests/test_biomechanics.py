"""Exported motions of characters: what other programs and libraries read in them is what Blender has."""

import json
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bpy
import c3d
import ezc3d
import numpy as np
import pytest
from characters import build_humanoid, make, write_blend
from scipy.spatial.transform import Rotation
from trc import TRCData

from pose_factory.blender import actions, evaluate, scene
from pose_factory.blender.prepare import prepare
from pose_factory.blender.recording import record
from pose_factory.blender.staging import stage
from pose_factory.bodies.anny_body import bare_body, build_body
from pose_factory.errors import PoseFactoryError
from pose_factory.export.body_parameters import write_body
from pose_factory.export.folders import remove_motions
from pose_factory.export.markers import trc, write_c3d
from pose_factory.export.recording import Recording, read_recording, write_recording
from pose_factory.files import atomic
from pose_factory.geometry.kinematics import rotations, thin
from pose_factory.motion_export.bvh import bvh
from pose_factory.skeleton import INDEX, JOINTS
from workflow import REPOSITORY, Workflow

DOCUMENT = (REPOSITORY / "docs" / "biomechanics.md").read_text()
SHARED = Path(os.environ.get("POSE_FACTORY_CHARACTERS", REPOSITORY.parent / "shared" / "characters"))
MILLIMETRE = 1e-3
OLD = {"phenotype": {"gender": 1.0, "age": 1.0, "weight": 0.9}, "motion": "dance", "frames": 12, "fps": 12.5}
OLD["local"] = {"upperarm-fat-decr-incr": 1.0, "measure-upperarm-length-decr-incr": 0.5}
BABY = {"phenotype": {"age": 0.0}, "motion": "squat", "frames": 5, "fps": 24.0}


def recorded(source: dict, blend: Path) -> tuple[dict, list[Recording]]:
    """The facts and the recording of a character as the workflow makes them, which stays open in Blender."""
    facts = prepare(source, blend)
    scene.open_character(blend)
    return facts, record(facts)


def imported(text: str, path: Path) -> bpy.types.Object:
    """The armature that Blender's own importer makes of a BVH file, in an empty scene."""
    path.write_text(text)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=str(path), update_scene_fps=True)
    (armature,) = (o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    return armature


def heads(armature: bpy.types.Object, bones: list[str], frames: range) -> np.ndarray:
    """(F, B, 3) the heads of these bones in the world."""
    names = [re.sub(r"\s", "_", bone) for bone in bones]
    return np.array(
        [[armature.matrix_world @ armature.pose.bones[n].head for n in names] for _ in evaluate.each_frame(frames)]
    )


def synthetic(count: int = 4, first_bone: str = "root") -> Recording:
    """Three bones in a chain, of which the second turns and the third also slides along it; all joints at the root."""
    turns = np.tile(np.eye(3), (count, 3, 1, 1))
    turns[:, 1] = turns[:, 2] = Rotation.from_euler("y", np.linspace(0, 80, count)[:, None], degrees=True).as_matrix()
    rest = np.array([[0, 0, 1.0], [0, 0, 1.4], [0, 0, 1.8]])
    places = np.tile(rest[0], (count, 3, 1)) + np.linspace(0, 1, count)[:, None, None] * [0.3, -0.2, 0.0]
    places[:, 1:] += [0, 0, 0.4]
    places[:, 2] += np.einsum("fij,fj->fi", turns[:, 1], np.linspace([0, 0, 0.4], [0, 0, 0.5], count))
    joints = np.tile(places[:, :1], (1, len(JOINTS), 1))
    return Recording([first_bone, "arm", "hand"], np.array([-1, 0, 1]), rest, rest + [0, 0, 0.2], turns, places, joints)


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """No file can grow beyond this many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> tuple[Path, dict, Recording]:
    """An Anny body, its prepared file, facts and recording."""
    blend = tmp_path_factory.mktemp("old") / "character.blend"
    facts, (recording,) = recorded({"anny": OLD}, blend)
    return blend, facts, recording


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> tuple[Path, dict, Recording]:
    """A doll built as Mixamo's characters are, without a face, in motion from frame 1 on."""
    folder = tmp_path_factory.mktemp("doll")
    facts, (recording,) = recorded({"file": str(make(folder, "centimetres.fbx"))}, folder / "character.blend")
    return folder / "character.blend", facts, recording


# What Blender is asked


def test_a_recording_has_the_joints_of_the_ground_truth_and_the_bones_they_are_on(old):
    blend, facts, recording = old
    scene.open_character(blend)
    (person,) = facts["people"]
    read = evaluate.JointReader(scene.armature(person["armature"]), person["joints"])
    for row, frame in enumerate(evaluate.each_frame(range(1, 13))):
        np.testing.assert_array_equal(recording.joints[row], read(), err_msg=str(frame))
    for joint, place in person["joints"].items():
        if "bone" in place:
            bone = recording.places[:, recording.bones.index(place["bone"])]
            np.testing.assert_allclose(bone, recording.joints[:, INDEX[joint]], atol=1e-6)


def test_at_rest_everybody_faces_minus_y_wherever_they_go(doll, tmp_path):
    blend, facts, recording = doll
    scene_ = {"people": [{"character": "d", "from": [0, 0]}, {"character": "d", "from": [2, 1], "facing": 130.0}]}
    facts = stage(scene_, {"d": (blend, facts)}, tmp_path / "scene.blend")
    scene.open_character(tmp_path / "scene.blend")
    people = record(facts)
    assert len(people) == 2
    for person in people:
        np.testing.assert_allclose(person.heads, recording.heads, atol=1e-6)
    away = Rotation.from_euler("z", 130, degrees=True).as_matrix()
    np.testing.assert_allclose(people[1].turns, away @ recording.turns, atol=1e-5)
    for person in people:
        armature = imported(bvh(person, person.turns, person.places, 30), tmp_path / "person.bvh")
        found = heads(armature, person.bones, range(1, 1 + len(person.places)))
        np.testing.assert_allclose(found, person.places, atol=MILLIMETRE)


# BVH


@pytest.mark.parametrize("name", ["centimetres.fbx", "ik.blend", "late_start.glb", "long.blend"])
def test_blenders_importer_finds_every_bone_where_it_was(tmp_path, name):
    facts, (recording,) = recorded({"file": str(make(tmp_path, name))}, tmp_path / "character.blend")
    count = facts["last_frame"] - facts["first_frame"] + 1
    assert len(recording.places) == count
    armature = imported(bvh(recording, recording.turns, recording.places, facts["fps"]), tmp_path / "motion.bvh")
    assert bpy.context.scene.render.fps == facts["fps"]
    assert actions.apply(armature, None)[1:] == (1, count)
    found = heads(armature, recording.bones, range(1, 1 + count))
    np.testing.assert_allclose(found, recording.places, atol=MILLIMETRE)


def test_a_mixamo_dancer_is_the_same_in_blender_again(tmp_path):
    if not (file := SHARED / "Samba Dancing.fbx").is_file():
        pytest.skip(f"NOT TESTED: there is no {file}; POSE_FACTORY_CHARACTERS names the folder")
    facts, (recording,) = recorded({"file": str(file)}, tmp_path / "character.blend")
    text = bvh(recording, recording.turns, recording.places, facts["fps"])
    assert text.count("6 Xposition") == 1  # nothing but the hips leaves its place
    found = heads(imported(text, tmp_path / "samba.bvh"), recording.bones, range(1, 1 + len(recording.places)))
    np.testing.assert_allclose(found, recording.places, atol=MILLIMETRE)


def test_names_that_are_alike_without_spaces_are_numbered(tmp_path):
    recording = replace(synthetic(), bones=["a b", "a_b", "a\tb"])
    text = bvh(recording, recording.turns, recording.places, 25)
    names = re.findall(r"(?:ROOT|JOINT) (.*)", text)
    assert names == ["a_b_2", "a_b", "a_b_3"]
    found = heads(imported(text, tmp_path / "alike.bvh"), names, range(1, 5))
    np.testing.assert_allclose(found, recording.places, atol=1e-5)


def test_a_bone_that_slides_has_positions_and_a_name_has_no_spaces(tmp_path):
    recording = synthetic(first_bone="Bip01 L Thigh")
    text = bvh(recording, recording.turns, recording.places, 25)
    assert "ROOT Bip01_L_Thigh\n" in text and text.count("6 Xposition") == 2 and "JOINT arm" in text
    found = heads(imported(text, tmp_path / "slide.bvh"), recording.bones, range(1, 5))
    np.testing.assert_allclose(found, recording.places, atol=1e-5)


def test_a_body_that_a_control_carries_is_recorded_without_the_control(tmp_path):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    armature = build_humanoid().armature
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    master = bones.new("master control")
    master.head, master.tail, master.use_deform = (0, 0, 0), (0, 0.5, 0), False
    bones["mixamorig:Hips"].parent = master
    bpy.ops.object.mode_set(mode="OBJECT")
    for frame, angle in ((1, 0.0), (5, 2.0)):
        armature.pose.bones["master control"].rotation_mode = "XYZ"
        armature.pose.bones["master control"].rotation_euler.z = angle
        armature.pose.bones["master control"].keyframe_insert("rotation_euler", frame=frame)
    write_blend(tmp_path / "controlled.blend")
    facts, (recording,) = recorded({"file": str(tmp_path / "controlled.blend")}, tmp_path / "character.blend")
    assert recording.bones[0] == "mixamorig:Hips" and "master control" not in recording.bones
    text = bvh(recording, recording.turns, recording.places, facts["fps"])
    assert text.count("6 Xposition") == 1
    found = heads(imported(text, tmp_path / "motion.bvh"), recording.bones, range(1, 6))
    np.testing.assert_allclose(found, recording.places, atol=MILLIMETRE)
    across = recording.joints[:, INDEX["left_hip"]] - recording.joints[:, INDEX["right_hip"]]
    assert across[0] @ across[4] < 0  # they were turned around


def test_controls_are_left_out_and_what_hangs_on_them_hangs_on_the_nearest_bone_left():
    #      0 control, 1 hips on it, 2 mechanism on the hips, 3 leg on that, 4 prop alone, 5 knee
    parents = np.array([-1, 0, 1, 2, -1, 3])
    wanted = np.array([False, True, False, True, True, True])
    kept, above = thin(parents, wanted, pelvis=1)
    assert kept.tolist() == [1, 3, 4, 5] and above.tolist() == [-1, 0, 0, 1]
    kept, above = thin(np.array([-1, -1, 1]), np.ones(3, bool), pelvis=2)  # a prop comes before the body
    assert kept.tolist() == [1, 0, 2] and above.tolist() == [-1, 0, 0]


def test_the_rotation_of_a_bone_is_told_from_its_scale_also_where_that_is_nothing():
    turns = Rotation.random(8, random_state=1).as_matrix()
    np.testing.assert_allclose(rotations(turns * [0.01, 1, 30]), turns, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotations(np.zeros((1, 3, 3)))), 1)


# Markers


def test_an_independent_reader_finds_the_joints_in_trc(doll, tmp_path):
    _, _, recording = doll
    (tmp_path / "a doll.trc").write_text(trc(recording.joints, 10, 30000 / 1001, "a doll.trc"))
    read = TRCData()
    read.load(tmp_path / "a doll.trc")
    missing = [JOINTS[joint] for joint in np.flatnonzero(np.isnan(recording.joints[0, :, 0]))]
    assert "nose" in missing
    assert read["Markers"] == [joint for joint in JOINTS if joint not in missing]
    assert read["Units"] == "mm" and read["NumFrames"] == 5 and read["OrigDataStartFrame"] == 10
    assert read["DataRate"] == read["CameraRate"] == pytest.approx(30000 / 1001, rel=1e-8)
    assert read["Frame#"] == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(read["Time"], np.arange(5) * 1001 / 30000, atol=1e-9)
    for joint in read["Markers"]:
        x, y, z = 1000 * recording.joints[:, INDEX[joint]].T
        np.testing.assert_allclose(np.array(read[joint]), np.stack([-y, z, -x], axis=1), atol=1e-5)
    forward = np.array(read["left_foot"])[0] - np.array(read["left_ankle"])[0]
    across = np.array(read["right_hip"])[0] - np.array(read["left_hip"])[0]
    assert forward[0] > 50 and across[2] > 50  # OpenSim's X is forward, its Z to the right


def test_trc_has_the_form_that_opensim_insists_on(old, tmp_path):
    """The checks of OpenSim's TRCFileAdapter, which refuses a file otherwise."""
    _, _, recording = old
    lines = trc(recording.joints, 1, 12.5, "old.trc").split("\n")
    keys = ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]
    assert lines[0].split()[0] == "PathFileType"
    assert lines[1].split("\t") == [*keys, "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"]
    assert len(lines[2].split("\t")) == 8
    labels = [label for label in lines[3].split("\t") if label]
    assert labels == ["Frame#", "Time", *JOINTS]
    axes = [label for label in lines[4].split("\t") if label]
    assert axes == [f"{axis}{number}" for number in range(1, 24) for axis in "XYZ"]
    assert lines[5] == "" and lines[-1] == ""
    rows = [line.split("\t") for line in lines[6:-1]]
    assert {len(row) for row in rows} == {2 + 3 * 23} and len(rows) == 12
    assert np.isfinite(np.array(rows, float)).all()


@pytest.mark.filterwarnings("ignore:No analog data found:UserWarning")
@pytest.mark.parametrize(("first", "number"), [(1, 1), (10, 10), (0, 1), (-7, 1)])
def test_two_readers_find_the_joints_in_c3d(doll, tmp_path, first, number):
    _, _, recording = doll
    write_c3d(tmp_path / "doll.c3d", recording.joints, first, 30000 / 1001)
    known = np.isfinite(recording.joints[0, :, 0])
    names, expected = [name for name, there in zip(JOINTS, known, strict=True) if there], recording.joints[:, known]

    own = ezc3d.c3d(str(tmp_path / "doll.c3d"))
    points = own["parameters"]["POINT"]
    assert points["LABELS"]["value"] == names and points["UNITS"]["value"] == ["mm"]
    assert points["X_SCREEN"]["value"] == ["+X"] and points["Y_SCREEN"]["value"] == ["+Z"]
    np.testing.assert_allclose(own["data"]["points"][:3], 1000 * expected.T, rtol=1e-6, atol=1e-4)

    with (tmp_path / "doll.c3d").open("rb") as file:
        other = c3d.Reader(file)
        frames = list(other.read_frames())
    assert [label.strip() for label in other.point_labels] == names
    assert other.point_rate == pytest.approx(30000 / 1001) and other.header.frame_rate == pytest.approx(30000 / 1001)
    assert (other.first_frame, other.last_frame) == (number, number + 4)
    assert [frame for frame, _, _ in frames] == list(range(number, number + 5))
    read = np.array([points for _, points, _ in frames])
    np.testing.assert_allclose(read[..., :3], 1000 * expected, rtol=1e-6, atol=1e-4)
    assert (read[..., 3] >= 0).all()  # -1 is a point that was not seen


def test_a_motion_of_many_thousand_frames_is_a_c3d_whole_or_not_at_all(tmp_path):
    joints = np.tile(np.linspace(0, 1, 40000)[:, None, None], (1, len(JOINTS), 3))
    write_c3d(tmp_path / "long.c3d", joints, 1, 30)
    assert ezc3d.c3d(str(tmp_path / "long.c3d"))["data"]["points"].shape == (4, len(JOINTS), 40000)
    with pytest.raises(PoseFactoryError, match=r"up to 65535, and this motion goes to 65536: leave c3d out of"):
        write_c3d(tmp_path / "longer.c3d", joints, 65536 - 39999, 30)
    assert not (tmp_path / "longer.c3d").exists()


def test_only_motions_of_those_who_are_gone_are_deleted(tmp_path):
    kept = {"ada.bvh", "duo.0.c3d", "notes.txt", "gone.mp4", "gone.x.bvh", ".gone-x1.bvh"}
    for name in (*kept, "gone.bvh", "gone.12.trc", "gone.body.npz"):
        (tmp_path / name).touch()
    (tmp_path / "old.bvh").mkdir()
    gone = remove_motions(tmp_path, ["ada", "duo"])
    assert [path.name for path in gone] == ["gone.12.trc", "gone.body.npz", "gone.bvh"]
    assert {path.name for path in tmp_path.iterdir()} == kept | {"old.bvh"}


# Bodies


def documented(folder: Path, monkeypatch, recording: Recording, spec: dict) -> np.ndarray:
    """(F, V, 3) the vertices that the lines of the documentation make of a body."""
    (folder / "results/export/motion").mkdir(parents=True)
    path = folder / "results/export/motion/ada.body.npz"
    write_body(path, recording, spec, 1, spec["fps"])
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code, names)
    names["body"].close()
    return names["vertices"].numpy()


def uncovered(spec: dict) -> np.ndarray:
    """(V,) the vertices that are the bare body's in a dressed one, too."""
    described = spec["phenotype"], spec.get("local")
    bare, dressed = bare_body(*described), build_body(*described)
    return (bare.vertices == dressed.vertices).all(axis=1) & (bare.weights == dressed.weights).all(axis=1)


def shown(frames: range) -> np.ndarray:
    """(F, V, 3) the vertices of the open character in the world."""
    return np.array([evaluate.vertices(evaluate.character_meshes()) for _ in evaluate.each_frame(frames)])


def test_anny_makes_the_body_of_the_parameters_that_blender_shows(old, tmp_path, monkeypatch):
    blend, _, recording = old
    vertices = documented(tmp_path, monkeypatch, recording, OLD)
    scene.open_character(blend)
    skin = uncovered(OLD)
    assert skin.sum() > 3000
    np.testing.assert_allclose(vertices[:, skin], shown(range(1, 13))[:, skin], atol=MILLIMETRE)
    with np.load(tmp_path / "results/export/motion/ada.body.npz") as file:
        about = json.loads(str(file["about"]))
        assert file["frame"].tolist() == list(range(1, 13)) and about["fps"] == 12.5
        assert about["motion"] == "dance" and about["bones"] == bare_body().bones


def test_so_it_does_of_a_baby_that_is_carried_through_a_scene(tmp_path, monkeypatch):
    facts = prepare({"anny": BABY}, tmp_path / "baby.blend")
    people = [{"character": "b", "from": [2, -1], "to": [1, 1], "facing": 200.0}]
    facts = stage({"people": people, "fps": 24.0}, {"b": (tmp_path / "baby.blend", facts)}, tmp_path / "scene.blend")
    scene.open_character(tmp_path / "scene.blend")
    (recording,) = record(facts)
    vertices = documented(tmp_path, monkeypatch, recording, BABY)
    skin = uncovered(BABY)
    np.testing.assert_allclose(vertices[:, skin], shown(range(1, 6))[:, skin], atol=MILLIMETRE)


def test_bones_that_slide_are_no_pose_of_a_body(tmp_path):
    with pytest.raises(PoseFactoryError, match="The bone hand moves in its parent by up to 100 mm"):
        write_body(tmp_path / "slide.body.npz", synthetic(), OLD, 1, 24)
    assert not list(tmp_path.iterdir())


# Files


def test_a_recording_is_read_as_it_was_written_and_documented(doll, tmp_path):
    _, _, recording = doll
    moved = replace(recording, joints=recording.joints + 1)
    for name in ("one.npz", "two.npz"):
        write_recording(tmp_path / name, [recording, moved], 7, 29.97)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    read, first, fps = read_recording(tmp_path / "one.npz", 1)
    assert (first, fps, read.bones) == (7, 29.97, recording.bones)
    np.testing.assert_array_equal(read.joints, moved.joints)
    for name in ("parents", "heads", "tails", "turns", "places"):
        np.testing.assert_allclose(getattr(read, name), getattr(recording, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("file", ["body.npz", "motion.npz"])
def test_the_arrays_are_the_documented_ones(old, tmp_path, file):
    _, _, recording = old
    if file == "body.npz":
        write_body(tmp_path / file, recording, OLD, 1, 12.5)
    else:
        write_recording(tmp_path / file, [recording], 1, 12.5)
    section = DOCUMENT.split("\n## ")[{"body.npz": 1, "motion.npz": 2}[file]]
    sizes = {"F": 12, "B": 52, "3": 3, "23": 23}
    expected = {
        name.replace("{i}", "0"): (kind, tuple(sizes[size.strip()] for size in shape.split(",") if size.strip()))
        for name, kind, shape in re.findall(r"^\| `([a-z_{}]+)` \| (\w+) \| \(([^)]*)\) \|", section, re.MULTILINE)
    }
    with np.load(tmp_path / file) as arrays:
        found = {
            name: ("str" if arrays[name].dtype.kind == "U" else str(arrays[name].dtype), arrays[name].shape)
            for name in arrays
        }
    assert found == expected


def test_a_recording_that_is_none_is_told(doll, tmp_path):
    _, _, recording = doll
    path = tmp_path / "motion.npz"
    with pytest.raises(PoseFactoryError, match=r"motion.npz is not there: make it with snakemake"):
        read_recording(path, 0)
    write_recording(path, [recording], 1, 30)
    with pytest.raises(PoseFactoryError, match=r"has no person 1: the last one is 0\.$"):
        read_recording(path, 1)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PoseFactoryError, match=r"holds no motion .*delete it and make it again\.$"):
        read_recording(path, 0)


@pytest.mark.parametrize("suffix", ["npz", "bvh", "trc", "c3d", "body.npz"])
def test_what_a_full_disk_cuts_short_is_told_and_not_kept(tmp_path, suffix):
    recording = synthetic(2000)
    recording = replace(recording, joints=recording.joints + np.random.default_rng(1).random(recording.joints.shape))
    rigid = replace(recording, places=np.zeros_like(recording.places), heads=np.zeros((3, 3)))
    path = tmp_path / f"motion.{suffix}"
    with full_after(8192), pytest.raises(PoseFactoryError) as error:
        if suffix == "npz":
            write_recording(path, [recording], 1, 30)
        elif suffix == "body.npz":
            turns = Rotation.random(6000, random_state=1).as_matrix().reshape(-1, 3, 3, 3)
            write_body(path, replace(rigid, turns=turns), OLD, 1, 30)
        else:
            with atomic(path) as temporary:
                if suffix == "c3d":
                    write_c3d(temporary, recording.joints, 1, 30)
                elif suffix == "bvh":
                    temporary.write_text(bvh(recording, recording.turns, recording.places, 30))
                else:
                    temporary.write_text(trc(recording.joints, 1, 30, path.name))
    told = str(error.value)
    assert told.startswith(f"Cannot write {path}: ") and told.endswith("; free some space or fix its folder.")
    assert not list(tmp_path.iterdir())


# In the workflow


@pytest.fixture(scope="module")
def crossing(tmp_path_factory) -> Workflow:
    """A scene of two dolls, whose file has spaces in its name, and an Anny body beside it; nothing was made yet."""
    folder = tmp_path_factory.mktemp("crossing")
    file = make(folder / "My Characters", "with spaces in its name.fbx")
    people = [{"character": "doll"}, {"character": "doll", "from": [1, 0]}]
    characters = {"doll": {"file": str(file)}, "ada": {"anny": {"frames": 2}}, "duo": {"people": people}}
    config = {"characters": characters, "cameras": {"angles": {"front": 0}}, "render": {"frames": "first"}}
    workflow = Workflow.new(folder / "repository", config)
    return workflow


def test_the_config_says_which_formats_everybody_is_exported_in(crossing, tmp_path):
    workflow = Workflow(crossing.root).copy(tmp_path / "copy")
    workflow.change("only", ["ada", "duo"])
    files = {job for job in workflow.plan("export") if job.startswith("export_person")}
    assert files == {
        *(f"export_person ada {suffix}" for suffix in ("bvh", "trc", "c3d", "body.npz")),
        *(f"export_person duo .{person} {suffix}" for person in "01" for suffix in ("bvh", "trc", "c3d")),
    }
    workflow.change("export.motions", ["trc"])
    assert len({job for job in workflow.plan("export") if job.startswith("export_person")}) == 3
    workflow.change("export.motions", ["tcr"])
    run = workflow.run("--cores", "2", "export")
    assert run.status != 0 and not run.started
    assert run.sentences == ["Config: export.motions[0] is 'tcr'; the nearest valid one is 'trc'."]


def test_a_scene_is_exported_whole_and_what_cannot_be_is_told(crossing):
    folder = "results/export/motion"
    targets = [f"{folder}/{name}" for name in ("duo.0.bvh", "duo.1.trc", "duo.2.trc", "doll.body.npz", "doll.c3d")]
    run = crossing.run("--cores", "2", *targets)
    assert run.status != 0
    assert sorted(run.sentences) == [
        "export_person doll  body.npz: doll.body.npz is of a character from a file: only described bodies have"
        " parameters.",
        "export_person duo .2 trc: results/duo/motion.npz has no person 2: the last one is 1.",
    ]
    assert crossing.results("export/motion/*.*") == [
        f"export/motion/{name}" for name in ("doll.c3d", "duo.0.bvh", "duo.1.trc")
    ]
    read = TRCData()
    read.load(crossing.root / folder / "duo.1.trc")
    assert read["FileName"] == "duo.1.trc" and read["Frame#"] == [1, 2, 3, 4, 5]
    assert np.array(read["pelvis"])[0, 2] == pytest.approx(-1000, abs=1)
    assert crossing.plan(f"{folder}/duo.0.bvh", f"{folder}/doll.c3d") == set()
