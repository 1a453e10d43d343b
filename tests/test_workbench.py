"""Workbench, which knows no shader nodes, shows people in their colours all the same."""

import colorsys

import bpy
import numpy as np
import pytest
from angles import angle
from characters import SHIRT, SKIN, build_humanoid, make, write_blend
from PIL import Image

from pose_factory.blender import bounds, evaluate, render, scene, workbench
from pose_factory.blender.prepare import prepare
from pose_factory.blender.staging import stage
from pose_factory.errors import PoseFactoryError
from pose_factory.frames import image
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view

ANGLE = angle(resolution=[256, 192])
SETTINGS = {"engine": "workbench", "device": "cpu", "samples": 8, "denoise": False, "seed": 0}
TOP, SECOND, SHOES = "#20a040", "#d01060", "#2040c0"
LOOK = {"top": TOP, "bottom": {"pattern": "stripes", "colours": ["#e0e0f0", SECOND], "size": 0.2}, "shoes": SHOES}


def film(folder, facts: dict, name: str, threads: int = 1, **settings) -> tuple[np.ndarray, Camera]:
    """The first frame of a prepared character, (H, W, 3) RGB, and its camera; the scene stays open."""
    scene.open_character(folder / f"{name}.blend")
    measured = bounds.measure(facts)
    view = frame_view(measured, ANGLE)
    log = folder / "log"
    log.write_text("")
    frame = facts["first_frame"]
    render.render(view, measured, [frame], {**SETTINGS, **settings}, threads, folder / "frames", log)
    return np.asarray(Image.open(image(folder / "frames", frame))), Camera.from_json(view)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A person and a doll from a file side by side: their folder and character.json."""
    folder = tmp_path_factory.mktemp("pair")
    described = {"phenotype": {"age": 0.7}, "motion": "hands_on_hips", "frames": 2, "look": LOOK}
    sources = {"person": {"anny": described}, "doll": {"file": str(make(folder, "plain.fbx"))}}
    blends = {name: folder / f"{name}.blend" for name in sources}
    members = {name: (blend, prepare(sources[name], blend)) for name, blend in blends.items()}
    people = [{"character": "person", "from": [0.6, 0.0]}, {"character": "doll", "from": [-0.6, 0.0]}]
    return folder, stage({"people": people, "frames": 1}, members, folder / "pair.blend")


@pytest.fixture(scope="module")
def pictures(pair):
    """The pair as Workbench and as Cycles show it, and the camera."""
    folder, facts = pair
    seen = {engine: film(folder, facts, "pair", engine=engine) for engine in ("cycles", "workbench")}
    return {engine: picture for engine, (picture, _) in seen.items()}, seen["workbench"][1]


def is_like(pixels: np.ndarray, colour: str) -> np.ndarray:
    """(N,) which of the pixels (N, 3) are not grey, and of the hue of "#rrggbb" to 12 degrees."""

    def hue(channels) -> float:
        return 360 * colorsys.rgb_to_hsv(*map(float, channels))[0]

    wanted = hue(bytes.fromhex(colour[1:]))
    apart = np.array([abs((hue(pixel) - wanted + 180) % 360 - 180) for pixel in pixels])
    return (np.ptp(pixels.astype(int), axis=1) > 25) & (apart < 12)


def worn(camera: Camera, zone: str) -> np.ndarray:
    """(H, W) the pixels in which the person of the open scene shows its garment."""
    (body,) = (o for o in evaluate.character_meshes() if f"zone_{zone}" in o.data.attributes)
    inside = np.empty(len(body.data.vertices), np.float32)
    body.data.attributes[f"zone_{zone}"].data.foreach_get("value", inside)
    pixels, _ = camera.project(evaluate.vertices([body]))
    columns, rows = np.floor(pixels[inside > 0.02]).astype(int).T
    shown = np.zeros((camera.height, camera.width), bool)
    shown[rows, columns] = True
    return shown


def test_a_shirt_is_of_its_colour(pair, pictures):
    both, camera = pictures
    scene.open_character(pair[0] / "pair.blend")
    shirt = worn(camera, "top") & ~worn(camera, "bottom")
    assert shirt.sum() > 200
    assert is_like(both["workbench"][shirt], TOP).mean() > 0.9


def test_patterns_and_characters_from_files_show_as_cycles_shows_them(pictures):
    both, _ = pictures
    doll = ["#" + bytes(round(255 * channel ** (1 / 2.2)) for channel in colour).hex() for colour in (SKIN, SHIRT)]
    for colour in (TOP, SECOND, SHOES, *doll):
        theirs, ours = (is_like(both[engine].reshape(-1, 3), colour) for engine in ("cycles", "workbench"))
        assert theirs.sum() > 30, colour
        assert (theirs & ours).sum() / (theirs | ours).sum() > 0.6, colour


def test_floor_and_backdrop_are_grey_and_light(pictures):
    picture = pictures[0]["workbench"].astype(int)
    for place in (picture[:20, :20], picture[-10:, :20]):
        assert np.ptp(place, axis=2).max() < 15 and place.mean() > 120


def test_the_same_picture_on_any_number_of_threads(pair, pictures):
    again, _ = film(*pair, "pair", threads=2)
    np.testing.assert_array_equal(again, pictures[0]["workbench"])


HEAD, CHEST = (0, -0.06, 0.95), (0, -0.065, 0.72)
"""Of the doll, as characters.PARTS."""


def at(picture: np.ndarray, camera: Camera, *places) -> np.ndarray:
    """(N, 3) the colours at places on the doll, which is 1.7 m high and in its first frame as it was built."""
    pixels, _ = camera.project(1.7 * np.array(places))
    columns, rows = np.floor(pixels).astype(int).T
    return picture[rows, columns].astype(int)


def user_materials() -> None:
    """Give the doll in the scene what users' files have: a texture on a map that is not the active one, of eight; a
    material without nodes; a shader that shines, in a group; a slot that is empty."""
    mesh = bpy.data.objects["Body"].data
    for index in range(8):
        mesh.uv_layers.new(name=str(index))
    mesh.uv_layers["3"].uv.foreach_set("vector", np.full(2 * len(mesh.loops), 0.75, np.float32))
    skin, shirt, trousers, _ = mesh.materials
    texture = bpy.data.images.new("Texture", 2, 2)
    texture.pixels.foreach_set(np.array([*[0, 0, 1, 1] * 3, 1, 0, 0, 1], np.float32))
    texture.pack()
    node, where = (shirt.node_tree.nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "UVMap"))
    node.image, where.uv_map = texture, "3"
    shirt.node_tree.links.new(where.outputs[0], node.inputs[0])
    shirt.node_tree.links.new(node.outputs[0], shirt.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
    skin.use_nodes, skin.diffuse_color = False, (0.0, 1.0, 0.0, 1.0)
    group = bpy.data.node_groups.new("Group", "ShaderNodeTree")
    group.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    shining, out = group.nodes.new("ShaderNodeEmission"), group.nodes.new("NodeGroupOutput")
    shining.inputs["Color"].default_value = (1.0, 0.0, 1.0, 1.0)
    group.links.new(shining.outputs[0], out.inputs[0])
    use = trousers.node_tree.nodes.new("ShaderNodeGroup")
    use.node_tree = group
    trousers.node_tree.links.new(use.outputs[0], trousers.node_tree.nodes["Material Output"].inputs["Surface"])
    mesh.materials[3] = None


def test_materials_as_users_have_them(tmp_path):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid()
    user_materials()
    write_blend(tmp_path / "doll.blend")
    facts = prepare({"file": str(tmp_path / "doll.blend")}, tmp_path / "prepared.blend")
    picture, camera = film(tmp_path, facts, "prepared")

    head, chest, belly, foot = at(picture, camera, HEAD, CHEST, (0, -0.065, 0.58), (0.055, -0.09, 0.04))
    assert head[1] > 100 and head[[0, 2]].max() < 60
    assert chest[0] > 100 and chest[1:].max() < 60
    assert belly[[0, 2]].min() > 100 and belly[1] < 60
    assert np.ptp(foot) < 15 and foot.min() > 90


def test_what_a_modifier_makes_anew_is_grey(tmp_path):
    """Geometry nodes lose where the faces lie in the picture."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid(split=True)
    made = bpy.data.node_groups.new("Anew", "GeometryNodeTree")
    for side in ("INPUT", "OUTPUT"):
        made.interface.new_socket("Geometry", in_out=side, socket_type="NodeSocketGeometry")
    start, hull, end = (
        made.nodes.new(kind) for kind in ("NodeGroupInput", "GeometryNodeConvexHull", "NodeGroupOutput")
    )
    made.links.new(start.outputs[0], hull.inputs[0])
    made.links.new(hull.outputs[0], end.inputs[0])
    bpy.data.objects["Head"].modifiers.new("Anew", "NODES").node_group = made
    write_blend(tmp_path / "doll.blend")
    facts = prepare({"file": str(tmp_path / "doll.blend")}, tmp_path / "prepared.blend")
    picture, camera = film(tmp_path, facts, "prepared")
    head, chest = at(picture, camera, HEAD, CHEST)
    assert np.ptp(head) < 10 and 40 < head.mean() < 200
    assert chest[2] > chest[0] + 50


def test_what_cannot_be_painted_is_one_sentence():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    (body,) = build_humanoid().meshes
    body.hide_render = True
    with pytest.raises(PoseFactoryError, match="The colours of the body cannot be painted for Workbench: .*Body"):
        workbench.paint([body])
