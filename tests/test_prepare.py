"""Characters as users have them, through prepare: each comes out metric, upright, facing -Y, on the floor, or is
refused."""

import re

import bpy
import numpy as np
import pytest
from characters import FILES, make, write

from pose_factory.blender import actions, evaluate, scene
from pose_factory.blender.prepare import prepare
from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import INDEX

SOUND = [name for name in FILES if not name.startswith(("truncated", "empty", "no_", "unknown", "giant", "several"))]
FIRST_LAST_FPS = {
    "plain.blend": (1, 5, 30),
    "plain.glb": (1, 5, 30),
    "late_start.blend": (10, 34, 30),
    "late_start.glb": (10, 34, 30),
    "long.blend": (1, 1000, 30),
    "fps_24.fbx": (None, None, 24),
    "fps_25.fbx": (None, None, 25),
    "fps_60.fbx": (None, None, 60),
    "fps_60.glb": (None, None, 60),
    "still.fbx": (1, 1, None),
    "still.glb": (1, 1, None),
    "still.blend": (1, 1, None),
}


def facts_of(folder, path, **settings) -> dict:
    """Prepare a file: what character.json says of the motion and of its one person, side by side."""
    facts = prepare({"file": str(path), **settings}, folder / "character.blend")
    (person,) = facts["people"]
    return {**facts, **person}


def opened(tmp_path, name: str, **settings):
    """Prepare a file of tests/characters.py and open the result."""
    facts = facts_of(tmp_path, make(tmp_path, name), **settings)
    scene.open_character(tmp_path / "character.blend")
    return facts


def edited(tmp_path):
    """The path of a plain character that is open to be edited before it is prepared."""
    path = make(tmp_path, "plain.blend")
    bpy.ops.wm.open_mainfile(filepath=str(path))
    return path


def prepared(tmp_path, path) -> dict:
    """Save what was edited, prepare it and open the result."""
    bpy.ops.wm.save_mainfile()
    facts = facts_of(tmp_path, path)
    scene.open_character(tmp_path / "character.blend")
    return facts


def missing_image(source: str) -> bpy.types.Image:
    image = bpy.data.images.new("skin", 4, 4, tiled=source == "TILED")
    image.source = source
    image.filepath = "//not there.<UDIM>.png" if source == "TILED" else "//not there.png"
    return image


def joints_at(facts: dict, frame: int) -> np.ndarray:
    bpy.context.scene.frame_set(frame)
    return evaluate.JointReader(scene.armature(facts["armature"]), facts["joints"])()


@pytest.mark.parametrize("name", SOUND)
def test_every_sound_file_stands_metric_upright_and_on_the_floor_facing_minus_y(tmp_path, name):
    facts = opened(tmp_path, name)
    frames = range(facts["first_frame"], facts["last_frame"] + 1)
    assert 1.6 < facts["height"] < 1.8
    lowest = [evaluate.vertices(evaluate.character_meshes())[:, 2].min() for _ in evaluate.each_frame(frames)]
    assert min(lowest) == pytest.approx(0, abs=1e-5)
    joints = joints_at(facts, facts["first_frame"])
    across = joints[INDEX["left_hip"]] - joints[INDEX["right_hip"]]
    assert across[0] == pytest.approx(np.linalg.norm(across), rel=0.02)
    assert joints[INDEX["neck"], 2] > joints[INDEX["left_knee"], 2] > joints[INDEX["left_ankle"], 2]
    toes = joints[INDEX["left_foot"]] - joints[INDEX["left_ankle"]]
    assert toes[1] < -0.05
    first, last, fps = FIRST_LAST_FPS.get(name, (None, None, None))
    assert first is None or (facts["first_frame"], facts["last_frame"]) == (first, last)
    assert fps is None or facts["fps"] == fps
    assert last == 1 or len(frames) >= 5 or name.startswith("still")


def test_the_scene_range_that_importers_leave_is_not_used(tmp_path):
    facts = opened(tmp_path, "plain.fbx")
    assert facts["last_frame"] - facts["first_frame"] == 4


def test_the_motion_is_the_files_own(tmp_path):
    """The doll raises an arm: in the prepared scene it does so over exactly the frames of the action."""
    facts = opened(tmp_path, "plain.fbx")
    start, end = (joints_at(facts, facts[key])[INDEX["left_wrist"]] for key in ("first_frame", "last_frame"))
    assert np.linalg.norm(end - start) > 0.1


def test_centimetre_armature_gives_the_same_world_as_metres(tmp_path):
    plain, mixamo = opened(tmp_path / "a", "plain.fbx"), None
    expected = joints_at(plain, plain["last_frame"])
    mixamo = opened(tmp_path / "b", "centimetres.fbx")
    assert mixamo["scale_found"] == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(joints_at(mixamo, mixamo["last_frame"]), expected, atol=2e-3)


def test_several_meshes_all_survive(tmp_path):
    facts = opened(tmp_path, "split.fbx")
    assert len(facts["meshes"]) > 1
    assert {o.name for o in evaluate.character_meshes()} == set(facts["meshes"])


@pytest.mark.parametrize("name", ["shape_key.fbx", "shape_key.glb", "shape_key.blend"])
def test_animated_shape_keys_still_move_the_mesh(tmp_path, name):
    facts = opened(tmp_path, name)
    values = []
    for _ in evaluate.each_frame([facts["first_frame"], facts["last_frame"]]):
        keys = [o.data.shape_keys for o in evaluate.character_meshes() if o.data.shape_keys]
        values.append(keys[0].key_blocks[1].value)
    assert values[0] != pytest.approx(values[1])


@pytest.mark.parametrize(("name", "kind"), [("subsurf.blend", "SUBSURF"), ("solidify.blend", "SOLIDIFY")])
def test_modifiers_survive_and_are_measured_as_rendered(tmp_path, name, kind):
    opened(tmp_path, name)
    (mesh,) = [o for o in evaluate.character_meshes() if any(m.type == kind for m in o.modifiers)]
    assert len(evaluate.vertices([mesh])) > len(mesh.data.vertices)


@pytest.mark.parametrize(("name", "kind"), [("copy_rotation.blend", "COPY_ROTATION"), ("ik.blend", "IK")])
def test_constraints_survive(tmp_path, name, kind):
    facts = opened(tmp_path, name)
    rig = scene.armature(facts["armature"])
    assert any(c.type == kind for bone in rig.pose.bones for c in bone.constraints)
    assert np.nanmax(np.ptp([joints_at(facts, facts[key]) for key in ("first_frame", "last_frame")], axis=0)) > 0.01


@pytest.mark.parametrize("name", ["missing_texture.blend", "missing_texture.fbx"])
def test_a_missing_texture_is_reported_and_not_pink(tmp_path, name):
    facts = opened(tmp_path, name)
    assert any("texture" in warning and "missing" in warning for warning in facts["warnings"])
    for material in bpy.data.materials:
        if material.use_nodes:
            assert not any(node.type == "TEX_IMAGE" and not node.image.has_data for node in material.node_tree.nodes)


@pytest.mark.parametrize("name", ["several_actions.fbx", "several_actions.glb", "several_actions.blend"])
def test_several_actions_need_a_choice_and_obey_it(tmp_path, name):
    with pytest.raises(PoseFactoryError, match="has 2 actions: choose one of .*march.*move") as error:
        opened(tmp_path / "unchosen", name)
    assert "action" in str(error.value) and "\n" not in str(error.value)
    ends = {}
    for action in ("move", "march"):
        facts = opened(tmp_path / action, name, action=action)
        assert action in facts["action"]
        ends[action] = joints_at(facts, facts["last_frame"])
    assert np.nanmax(np.abs(ends["move"] - ends["march"])) > 0.05
    with pytest.raises(PoseFactoryError, match='no action "jump"'):
        opened(tmp_path / "wrong", name, action="jump")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("truncated.fbx", "damaged or cut short"),
        ("truncated.glb", "damaged or cut short"),
        ("truncated.blend", "damaged or cut short"),
        ("empty.fbx", "0 bytes"),
        ("empty.glb", "0 bytes"),
        ("empty.blend", "0 bytes"),
        ("no_armature.fbx", "no armature"),
        ("no_armature.glb", "no armature"),
        ("no_mesh.fbx", "no mesh"),
        ("no_mesh.glb", "no mesh"),
        ("empty_action.blend", "no key frames"),
        ("unknown_rig.fbx", "docs/rigs.md"),
    ],
)
def test_broken_files_are_refused_in_one_sentence_and_leave_nothing(tmp_path, name, sentence):
    with pytest.raises(PoseFactoryError, match=sentence) as error:
        opened(tmp_path, name)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "character.blend").exists()


@pytest.mark.parametrize("name", ["giant.fbx", "giant.glb"])
def test_a_giant_is_refused_with_the_scale_that_mends_it(tmp_path, name):
    with pytest.raises(PoseFactoryError, match=r"stands 1\d\d(\.\d)? m high.*scale found: 1.*`scale: 0.01`"):
        opened(tmp_path, name)
    assert opened(tmp_path, name, scale=0.01)["height"] == pytest.approx(1.7, abs=0.1)


def test_what_is_hidden_on_the_artists_screen_but_rendered_is_filmed(tmp_path):
    path = make(tmp_path, "plain.blend")
    bpy.ops.wm.open_mainfile(filepath=str(path))
    hidden = bpy.data.collections.new("Hidden")
    bpy.context.scene.collection.children.link(hidden)
    for o in [o for o in bpy.context.scene.objects if o.type == "MESH"]:
        for collection in o.users_collection:
            collection.objects.unlink(o)
        hidden.objects.link(o)
        o.hide_viewport = True
    hidden.hide_viewport = True
    bpy.ops.wm.save_mainfile()
    facts = facts_of(tmp_path, path)
    assert facts["height"] == pytest.approx(1.7, abs=0.1)


@pytest.mark.parametrize("closed", ["eye of the child", "parent on screen"])
def test_meshes_in_nested_collections_hidden_on_screen_move_with_their_rig(tmp_path, closed):
    path = edited(tmp_path)
    parent, child = bpy.data.collections.new("Parent"), bpy.data.collections.new("Child")
    bpy.context.scene.collection.children.link(parent)
    parent.children.link(child)
    for o in [o for o in bpy.context.scene.objects if o.type == "MESH"]:
        o.users_collection[0].objects.unlink(o)
        child.objects.link(o)
    bpy.context.scene.frame_set(5)
    expected = evaluate.vertices(evaluate.character_meshes())
    if closed == "parent on screen":
        parent.hide_viewport = True
    else:
        layer = bpy.context.view_layer.layer_collection.children["Parent"].children["Child"]
        layer.hide_viewport = True
    facts = prepared(tmp_path, path)
    bpy.context.scene.frame_set(facts["last_frame"])
    np.testing.assert_allclose(
        np.ptp(evaluate.vertices(evaluate.character_meshes()), axis=0), np.ptp(expected, axis=0), atol=1e-4
    )


@pytest.mark.parametrize("how", ["hide_render", "exclude"])
def test_what_the_render_leaves_out_stays_out(tmp_path, how):
    path = edited(tmp_path)
    (body,) = [o for o in bpy.context.scene.objects if o.type == "MESH"]
    spare, out = body.copy(), bpy.data.collections.new("Out")
    bpy.context.scene.collection.children.link(out)
    out.objects.link(spare)
    if how == "exclude":
        bpy.context.view_layer.layer_collection.children["Out"].exclude = True
    else:
        out.hide_render = True
    assert prepared(tmp_path, path)["meshes"] == ["Body"]
    assert [o.name for o in evaluate.character_meshes()] == ["Body"]


def test_frames_before_zero_are_kept(tmp_path):
    path = edited(tmp_path)
    for curve in actions.fcurves(bpy.data.actions["move"]):
        for point in curve.keyframe_points:
            point.co_ui.x -= 11
    facts = prepared(tmp_path, path)
    assert (facts["first_frame"], facts["last_frame"]) == (-10, -6)
    start, end = (joints_at(facts, frame)[INDEX["left_wrist"]] for frame in (-10, -6))
    assert np.linalg.norm(end - start) > 0.1


def test_an_action_of_another_armature_is_no_candidate(tmp_path):
    path = edited(tmp_path)
    (own,) = [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]
    other = own.copy()
    bpy.context.scene.collection.objects.link(other)
    other.animation_data.action = bpy.data.actions["move"].copy()
    other.animation_data.action.name = "others"
    facts = prepared(tmp_path, path)
    assert (facts["armature"], facts["action"]) == ("Armature", "move")


def test_a_missing_texture_in_a_node_group_is_grey(tmp_path):
    path = edited(tmp_path)
    group = bpy.data.node_groups.new("Skin", "ShaderNodeTree")
    group.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
    group.interface.new_socket("Alpha", in_out="OUTPUT", socket_type="NodeSocketFloat")
    texture, out = group.nodes.new("ShaderNodeTexImage"), group.nodes.new("NodeGroupOutput")
    texture.image = missing_image("FILE")
    for output in ("Color", "Alpha"):
        group.links.new(texture.outputs[output], out.inputs[output])
    tree = bpy.data.materials[0].node_tree
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    tree.links.new(node.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    facts = prepared(tmp_path, path)
    assert any("texture" in warning and "missing" in warning for warning in facts["warnings"])
    group = bpy.data.node_groups["Skin"]
    (out,) = group.nodes
    assert tuple(out.inputs["Color"].default_value) == (0.5, 0.5, 0.5, 1)
    assert out.inputs["Alpha"].default_value == 1


def test_a_udim_texture_without_its_tiles_is_grey(tmp_path):
    path = edited(tmp_path)
    tree = bpy.data.materials[0].node_tree
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = missing_image("TILED")
    tree.links.new(texture.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    name = bpy.data.materials[0].name
    facts = prepared(tmp_path, path)
    assert any("<UDIM>" in warning and "missing" in warning for warning in facts["warnings"])
    colour = bpy.data.materials[name].node_tree.nodes["Principled BSDF"].inputs["Base Color"]
    assert not colour.is_linked and tuple(colour.default_value) == (0.5, 0.5, 0.5, 1)


@pytest.mark.parametrize(("height", "scale"), [(4.0, 1.0), (170.0, 1.0), (0.17, 1.0), (4.0, 0.5)])
def test_the_scale_that_is_advised_mends_the_height(tmp_path, height, scale):
    path = tmp_path / "tall.blend"
    write(path, height=height / scale)
    with pytest.raises(PoseFactoryError, match="set `scale: ") as error:
        prepare({"file": str(path), "scale": scale}, tmp_path / "character.blend")
    advised = float(re.search(r"`scale: (\S+)`", str(error.value))[1])
    mended = facts_of(tmp_path, path, scale=advised)
    assert mended["height"] == pytest.approx(1.7, rel=0.05)


def test_a_character_far_from_the_origin_is_brought_to_it(tmp_path):
    path = edited(tmp_path)
    (rig,) = [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]
    rig.location = (3000, -4000, 20)
    facts = prepared(tmp_path, path)
    assert any("5000 m from the origin" in warning for warning in facts["warnings"])
    joints = joints_at(facts, facts["first_frame"])
    np.testing.assert_allclose(joints[INDEX["pelvis"], :2], 0, atol=0.1)


def test_props_and_lights_of_a_scene_are_left_out_and_said_so(tmp_path):
    path = make(tmp_path, "plain.blend")
    bpy.ops.wm.open_mainfile(filepath=str(path))
    bpy.ops.mesh.primitive_plane_add(size=50)
    bpy.ops.object.light_add(type="POINT")
    bpy.ops.wm.save_mainfile()
    facts = facts_of(tmp_path, path)
    assert any('"Plane" (mesh)' in warning for warning in facts["warnings"])
    scene.open_character(tmp_path / "character.blend")
    assert np.ptp(evaluate.vertices(evaluate.character_meshes()), axis=0).max() < 3
    assert not [o for o in bpy.context.scene.objects if o.type == "LIGHT"]


def test_yaw_turns_the_character(tmp_path):
    facts = opened(tmp_path, "plain.fbx", yaw=90.0)
    joints = joints_at(facts, facts["first_frame"])
    across = joints[INDEX["left_hip"]] - joints[INDEX["right_hip"]]
    assert across[1] == pytest.approx(np.linalg.norm(across), rel=0.02)
