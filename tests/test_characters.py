"""The built characters are what they say: files are read back through Blender's importers and measured."""

from pathlib import Path

import bpy
import characters
import numpy as np
import pytest

from pose_factory.rigs import detect, rigs

IMPORTERS = {
    ".fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    ".glb": lambda path: bpy.ops.import_scene.gltf(filepath=path, disable_bone_shape=True),
    ".blend": lambda path: bpy.ops.wm.open_mainfile(filepath=path),
}


def read(path: Path, fps: int = 30) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = fps
    IMPORTERS[path.suffix](str(path))


def objects(kind: str) -> list:
    return [object_ for object_ in bpy.data.objects if object_.type == kind]


def points(frame: int) -> np.ndarray:
    """World positions of all mesh vertices at a frame, after all modifiers."""
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    found = []
    for object_ in objects("MESH"):
        evaluated = object_.evaluated_get(graph)
        local = np.empty((len(evaluated.data.vertices), 3), np.float32)
        evaluated.data.vertices.foreach_get("co", local.reshape(-1))
        world = np.array(evaluated.matrix_world)
        found.append(local @ world[:3, :3].T + world[:3, 3])
    return np.concatenate(found)


def size(frame: int) -> np.ndarray:
    cloud = points(frame)
    return cloud.max(axis=0) - cloud.min(axis=0)


def action_range(name: str | None = None) -> tuple[float, float]:
    armature = objects("ARMATURE")[0]
    action = bpy.data.actions[name] if name else armature.animation_data.action
    return tuple(action.frame_range)


@pytest.fixture
def made(tmp_path):
    def make(name: str, fps: int = 30) -> Path:
        path = characters.make(tmp_path, name)
        read(path, fps)
        return path

    return make


@pytest.mark.parametrize(
    "name", ["plain.fbx", "plain.glb", "plain.blend", "centimetres.fbx", "with spaces in its name.fbx"]
)
def test_a_character_stands_upright_and_then_moves(made, name):
    made(name)
    first, last = (int(frame) for frame in action_range())
    assert last - first == 4
    rest, moved = points(first), points(last)
    assert len(rest) <= 2000
    np.testing.assert_allclose(rest[:, 2].min(), 0, atol=1e-3)
    np.testing.assert_allclose(rest[:, 2].max(), 1.7, atol=1e-3)
    np.testing.assert_allclose(rest[:, 0].max(), -rest[:, 0].min(), atol=1e-3)
    assert rest[:, 1].min() < -2 * rest[:, 1].max()  # toes and nose point to -Y
    assert moved[:, 2].max() > 1.9  # the left arm is up
    np.testing.assert_allclose(moved[:, 1].max() - rest[:, 1].max(), -0.3 * 1.7, atol=1e-2)


@pytest.mark.parametrize("rig", [pytest.param(rig, id=rig.name) for rig in rigs()])
def test_every_rig_is_found_again_in_a_file(tmp_path, rig):
    read(characters.write(tmp_path / "character.fbx", bone_map=rig.name, frames=2))
    match = detect([bone.name for bone in objects("ARMATURE")[0].data.bones])
    assert (match.rig, match.prefix) == (rig.name, "mixamorig:" if rig.name == "mixamo" else "")
    assert set(match.joints) == set(rig.joints)


def test_joints_lie_where_the_doll_has_them(made):
    made("centimetres.fbx")
    armature = objects("ARMATURE")[0]
    np.testing.assert_allclose(armature.matrix_world.to_scale(), [0.01] * 3, rtol=1e-5)
    for joint, (bone, _) in detect([bone.name for bone in armature.data.bones]).joints.items():
        place = armature.matrix_world @ armature.data.bones[bone].head_local
        np.testing.assert_allclose(place, 1.7 * np.array(characters.REST[joint]), atol=1e-4, err_msg=joint)


def test_the_left_arm_and_the_right_leg_move(made):
    made("plain.blend")
    armature, bones = objects("ARMATURE")[0], {}
    for frame in (1, 5):
        bpy.context.scene.frame_set(frame)
        bones[frame] = {bone.name.removeprefix("mixamorig:"): np.array(bone.head) for bone in armature.pose.bones}
    moved = {name: bones[5][name] - bones[1][name] for name in bones[1]}
    travel = np.array([0, -0.3 * 1.7, 0])
    np.testing.assert_allclose(moved["Hips"], travel, atol=1e-5)
    np.testing.assert_allclose(moved["RightHand"], travel, atol=1e-5)
    assert moved["LeftHand"][2] > 0.4
    assert (moved["RightLeg"] - travel)[1] < -0.2
    assert moved["RightLeg"][2] > 0.1
    np.testing.assert_allclose(moved["LeftFoot"], travel, atol=1e-5)


@pytest.mark.parametrize("name", ["shape_key.fbx", "shape_key.glb", "shape_key.blend"])
def test_the_shape_key_moves_the_belly(made, name):
    made(name)
    (mesh,) = objects("MESH")
    first, last = (int(frame) for frame in action_range())
    for frame, value in ((first, 0), (last, 1)):
        bpy.context.scene.frame_set(frame)
        np.testing.assert_allclose(mesh.data.shape_keys.key_blocks["Belly"].value, value, atol=1e-3)


def test_constraints_are_alive_in_a_blend(made):
    made("copy_rotation.blend")
    bpy.context.scene.frame_set(5)
    bones = objects("ARMATURE")[0].pose.bones
    left, right = (bones[f"mixamorig:{side}Leg"].matrix.to_quaternion() for side in ("Left", "Right"))
    np.testing.assert_allclose(left.rotation_difference(right).angle, 0, atol=1e-3)
    assert bones["mixamorig:RightUpLeg"].matrix.to_quaternion().rotation_difference(left).angle > 0.5


@pytest.mark.parametrize("name", ["ik.blend", "ik.fbx"])
def test_the_wrist_follows_its_target(made, name):
    made(name)
    bpy.context.scene.frame_set(int(action_range()[1]))
    armature, (target,) = objects("ARMATURE")[0], objects("EMPTY")
    wrist = armature.matrix_world @ armature.pose.bones["mixamorig:LeftHand"].head
    np.testing.assert_allclose(target.matrix_world.translation, 1.7 * np.array(characters.IK_GOAL), atol=1e-4)
    np.testing.assert_allclose(wrist, target.matrix_world.translation, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "kind", "grows"), [("subsurf.blend", "SUBSURF", 4), ("solidify.blend", "SOLIDIFY", 2)]
)
def test_modifiers_are_alive_in_a_blend(made, name, kind, grows):
    made(name)
    (mesh,) = objects("MESH")
    assert [modifier.type for modifier in mesh.modifiers] == ["ARMATURE", kind]
    assert len(points(1)) > (grows - 0.5) * len(mesh.data.vertices)


def test_fbx_applies_modifiers(made):
    made("solidify.fbx")
    (mesh,) = objects("MESH")
    assert [modifier.type for modifier in mesh.modifiers] == ["ARMATURE"]
    assert len(mesh.data.vertices) > 3000


@pytest.mark.parametrize("name", ["still.fbx", "still.glb", "still.blend"])
def test_a_still_character_has_no_action(made, name):
    made(name)
    assert len(bpy.data.actions) == 0
    np.testing.assert_allclose(size(1)[2], 1.7, atol=1e-3)


@pytest.mark.parametrize("name", ["several_actions.fbx", "several_actions.glb", "several_actions.blend"])
def test_several_actions(made, name):
    made(name)
    assert sorted(action.name.split("|")[-1] for action in bpy.data.actions) == ["march", "move"]


def test_an_empty_action_has_no_keys(made):
    made("empty_action.blend")
    action = objects("ARMATURE")[0].animation_data.action
    assert action.name == "Empty"
    assert action.is_empty


@pytest.mark.parametrize("name", ["missing_texture.blend", "missing_texture.fbx"])
def test_a_missing_texture_is_named_but_not_there(made, name):
    made(name)
    (image,) = (image for image in bpy.data.images if image.source == "FILE")
    assert Path(image.filepath).name == "skin that is not there.png"
    assert not Path(bpy.path.abspath(image.filepath)).exists()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("no_armature.fbx", {"MESH"}),
        ("no_armature.glb", {"MESH"}),
        ("no_mesh.fbx", {"ARMATURE"}),
        ("no_mesh.glb", {"ARMATURE"}),
    ],
)
def test_a_file_without_armature_or_mesh(made, name, kinds):
    made(name)
    assert {object_.type for object_ in bpy.data.objects} == kinds


def test_a_head_of_its_own(made):
    made("split.fbx")
    assert sorted(mesh.name for mesh in objects("MESH")) == ["Body", "Head"]
    assert len(points(1)) <= 2000


@pytest.mark.parametrize(("name", "rate", "frames"), [
    ("long.fbx", 30, 1000),
    ("long.glb", 30, 1000),
    ("long.blend", 30, 1000),
    ("fps_24.fbx", 24, 5),
    ("fps_25.fbx", 25, 5),
    ("fps_60.fbx", 60, 5),
    ("fps_60.glb", 60, 5),
    ("fps_24.blend", 24, 5),
    ("late_start.fbx", 30, 25),
    ("late_start.glb", 30, 25),
    ("late_start.blend", 30, 25),
])  # fmt: skip
def test_rates_and_ranges(made, name, rate, frames):
    made(name, fps=rate)  # glTF has seconds and no rate, so the scene's rate decides
    render = bpy.context.scene.render
    assert render.fps / render.fps_base == rate
    first, last = action_range()
    np.testing.assert_allclose(last - first, frames - 1, atol=1e-2)
    assert (first >= 10) == name.startswith("late_start")


def test_glb_frames_follow_the_rate_of_the_scene(made):
    made("fps_60.glb", fps=30)
    np.testing.assert_allclose(np.ptp(action_range()), 4 / 2, atol=1e-3)


@pytest.mark.parametrize("name", ["facing_x.fbx", "facing_x.glb"])
def test_facing_x(made, name):
    made(name)
    rest = points(1)
    assert rest[:, 0].max() > -2 * rest[:, 0].min()
    np.testing.assert_allclose(rest[:, 2].max(), 1.7, atol=1e-3)


@pytest.mark.parametrize("name", ["lying.fbx", "lying.glb"])
def test_lying(made, name):
    made(name)
    rest = points(1)
    np.testing.assert_allclose([rest[:, 1].min(), rest[:, 1].max()], [0, 1.7], atol=1e-3)
    assert np.ptp(rest[:, 2]) < 0.5


@pytest.mark.parametrize("name", ["giant.fbx", "giant.glb"])
def test_a_giant_is_170_metres_tall(made, name):
    made(name)
    np.testing.assert_allclose(size(1)[2], 170, atol=1e-1)


@pytest.mark.parametrize("suffix", [".fbx", ".glb", ".blend"])
@pytest.mark.parametrize("name", ["truncated", "empty"])
def test_broken_files_do_not_open(tmp_path, name, suffix):
    path = characters.make(tmp_path, name + suffix)
    assert (path.stat().st_size == 0) == (name == "empty")
    with pytest.raises(RuntimeError):
        read(path)


def test_every_named_variation_is_made(tmp_path):
    suffixes = {Path(name).suffix for name in characters.FILES}
    assert suffixes == set(IMPORTERS)
    assert characters.make(tmp_path / "a folder", "unknown_rig.fbx").stat().st_size > 10_000
