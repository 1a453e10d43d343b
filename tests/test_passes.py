"""Label passes: exact where there is a closed form, as Cycles sees the same scene, stored within the stated error, and
never kept when they contradict the other labels."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import OpenEXR
import pytest
from angles import angle
from characters import make, write
from mathutils import Vector

from pose_factory import passes
from pose_factory.blender import bounds, ground_truth, scene, staging
from pose_factory.blender import passes as blender_passes
from pose_factory.blender.prepare import prepare
from pose_factory.config import load
from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view
from pose_factory.skeleton import JOINTS
from pose_factory.validation.passes_check import angles, judge
from workflow import Workflow, jobs

ALL = list(passes.PASSES)
ANGLE = angle(resolution=[96, 112])
LIMITS = load({"characters": {"ada": {"anny": {}}}}, Path())["validation"]["passes"]
FLOW = {"flow_carried", "flow_hidden", "flow_lost"}
STEP = {name: stored.step for name, stored in passes.PASSES.items()}


class Filmed:
    """Passes of some frames: what passes.json says, and the images of each pass by frame."""

    def __init__(self, facts: dict, view: dict, frames: list[int], folder: Path, wanted=ALL, change=lambda *_: None):
        self.camera = Camera.from_json(view)
        self.labels, self.boxes, _ = ground_truth.label(facts, view, frames)
        change(self.labels, self.boxes)
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        self.told = blender_passes.make(facts, view, frames, wanted, self.labels, self.boxes, folder)
        for name in wanted:
            filmed = [frame for frame in frames if passes.file(folder, name, frame).exists()]
            setattr(self, name, {frame: passes.READERS[name](passes.file(folder, name, frame)) for frame in filmed})

    @property
    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}


class Doll:
    """A prepared character, or scene of two, that can be filmed again and again."""

    def __init__(self, folder: Path, facts: dict) -> None:
        self.folder, self.facts = folder, facts
        scene.open_character(folder / "character.blend")
        self.bounds = bounds.measure(facts)

    def film(self, frames=(1,), wanted=ALL, add=lambda: None, change=lambda *_: None, **angle) -> Filmed:
        scene.open_character(self.folder / "character.blend")
        add()
        view = frame_view(self.bounds, {**ANGLE, **angle})
        return Filmed(self.facts, view, list(frames), self.folder / "passes", wanted, change)


def doll_of(folder: Path, name: str) -> Doll:
    return Doll(folder, prepare({"file": str(make(folder, name))}, folder / "character.blend"))


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> Doll:
    """A body and a head, two meshes."""
    return doll_of(tmp_path_factory.mktemp("doll"), "split.fbx")


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Doll:
    """Two people, the second one nearer to the camera and partly before the first."""
    folder = tmp_path_factory.mktemp("pair")
    facts = prepare({"file": str(make(folder, "plain.blend"))}, folder / "doll.blend")
    people = [{"character": "doll", "from": [-0.2, 0.0]}, {"character": "doll", "from": [0.2, -0.8]}]
    staged = staging.stage({"people": people}, {"doll": (folder / "doll.blend", facts)}, folder / "character.blend")
    return Doll(folder, staged)


def alone(*vertices_and_faces, speed=(0.0, 0.0, 0.0), smooth: bool = False) -> dict:
    """A scene with one mesh on a rig of one bone, which moves `speed` metres per frame; its character.json."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    armature = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
    bpy.context.collection.objects.link(armature)
    mesh = bpy.data.meshes.new("Mesh")
    mesh.from_pydata(vertices_and_faces[0], [], vertices_and_faces[1])
    if smooth:
        mesh.shade_smooth()
    o = bpy.data.objects.new("Mesh", mesh)
    bpy.context.collection.objects.link(o)
    for frame in (1, 11):
        o.location = Vector(speed) * (frame - 1)
        o.keyframe_insert("location", frame=frame)
    for curve in o.animation_data.action.fcurves:
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"
    person = {"armature": "Armature", "joints": {}, "meshes": ["Mesh"]}
    return {"people": [person], "fps": 24.0, "first_frame": 1, "last_frame": 11}


def camera_at(distance: float, width: int = 96, height: int = 64) -> dict:
    """A camera on -Y that looks along +Y, tilted so that nothing lies along an axis."""
    camera = Camera.look_at([0.3, -distance, 0.4], [0.1, 0, 0], 50 / 36 * width, width, height)
    return {
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
        "width": width,
        "height": height,
        "sensor_width_mm": 36.0,
        "focal_length_mm": 50.0,
        "distance": distance,
        "variation": {"occluders": []},
    }


# Closed forms


def test_a_quad_that_moves_has_the_depth_normal_and_flow_of_its_equation(tmp_path):
    """Frames 1, 3 and 4 are filmed: flow goes to the next of these, and the last has none."""
    corners = np.array([[-0.9, 0.2, -0.6], [0.9, -0.2, -0.6], [0.9, -0.1, 0.5], [-0.9, 0.3, 0.5]])
    speed = np.array([0.05, -0.08, 0.03])
    facts = alone(corners.tolist(), [[0, 1, 2, 3]], speed=speed)
    made = Filmed(facts, camera_at(4.0), [1, 3, 4], tmp_path / "passes")
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    normal /= np.linalg.norm(normal)
    camera = made.camera
    v, u = np.mgrid[:64, :96] + 0.5
    towards = camera.unproject(np.stack([u, v], axis=-1), np.ones((64, 96))) - camera.position
    for frame, following in ((1, 3), (3, 4), (4, None)):
        moved = corners + speed * (frame - 1)
        depth = (moved[0] - camera.position) @ normal / (towards @ normal)
        points = camera.position + towards * depth[..., None]
        edges = np.roll(moved, -1, axis=0) - moved
        sides = (np.cross(edges, points[..., None, :] - moved) @ normal).min(axis=-1)
        sure = np.abs(sides) > 1e-6
        inside = sides > 0
        assert inside.any() and not inside.all()
        seen = made.instances[frame] == 1
        np.testing.assert_array_equal(seen[sure], inside[sure])
        # Blender keeps vertices in single precision.
        assert np.abs(made.depth[frame][seen] - depth[seen]).max() <= STEP["depth"] / 2 + 2e-6
        facing = camera.R @ normal * -np.sign((camera.R @ normal)[2])
        assert np.abs(made.normals[frame][seen] - facing).max() <= STEP["normals"] / 2 + 1e-6
        assert (made.parts[frame] == np.where(seen, passes.PARTS["other"], 0)).all()
        for name in ALL[:-1]:
            assert (getattr(made, name)[frame][~seen] == 0).all()
        if following is None:
            assert list(made.flow) == [1, 3]
            continue
        there, _ = camera.project(points + speed * (following - frame))
        difference = made.flow[frame] - (there - np.stack([u, v], axis=-1))
        assert np.abs(difference[seen]).max() <= STEP["flow"] / 2 + 1e-4
        assert np.linalg.norm(made.flow[frame][seen], axis=1).min() > 0.5 and (made.flow[frame][~seen] == 0).all()
    judge("front", made.told["checks"], LIMITS)


def sphere(rings: int) -> tuple[list, list]:
    theta, phi = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    points = [[np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)] for t in theta for p in phi]
    at = np.arange((rings + 1) * 2 * rings).reshape(rings + 1, -1)
    following = np.roll(at, -1, axis=1)
    quads = np.stack([at[:-1], at[1:], following[1:], following[:-1]], axis=-1).reshape(-1, 4)
    return points, quads.tolist()


@pytest.mark.parametrize("kind", ["outside", "inside out", "mirrored", "stretched"])
def test_a_sphere_has_its_radii_for_normals_towards_the_camera(tmp_path, kind):
    """However its polygons are wound, and whatever its object's scale makes of them."""
    points, quads = sphere(60)
    scale = np.array({"mirrored": [-1, 1, 1], "stretched": [0.4, 1, 2.5]}.get(kind, [1, 1, 1]))
    turned = [quad[::-1] for quad in quads] if kind == "inside out" else quads
    facts = alone((points / scale).tolist(), turned, smooth=True)
    bpy.data.objects["Mesh"].scale = scale
    made = Filmed(facts, camera_at(6.0), [1], tmp_path / "passes")
    seen = made.instances[1] == 1
    v, u = np.nonzero(seen)
    at = made.camera.unproject(np.stack([u, v], axis=-1) + 0.5, made.depth[1][seen])
    sagitta = 1 - np.cos(np.pi / 120) ** 2
    radius = np.linalg.norm(at, axis=1)
    assert 1 - sagitta - STEP["depth"] <= radius.min() and radius.max() <= 1 + STEP["depth"]
    normals = made.normals[1][seen] @ made.camera.R
    cosine = (normals * at).sum(axis=1) / radius / np.linalg.norm(normals, axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5
    towards = made.camera.position - at
    assert ((normals * towards).sum(axis=1) > 0).all()
    judge("front", made.told["checks"], LIMITS)


def test_a_tip_thinner_than_a_pixel_is_in_the_box_and_no_fault(tmp_path):
    corners = [[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.2], [-0.5, 0, 0.2]]
    tip = [[0.2, 0, 0.2], [0.202, 0, 0.2], [0.2, 0, 0.7]]
    made = Filmed(alone(corners + tip, [[0, 1, 2, 3], [4, 5, 6]]), camera_at(4.0), [1], tmp_path / "passes")
    top = np.nonzero(made.instances[1])[0].min()
    assert top > made.boxes.y_min[0] + 10
    assert made.told["checks"]["box_max_px"] < 0.5 and made.told["checks"]["box_iou_min"] < 0.8
    judge("front", made.told["checks"], LIMITS)


# The same as Cycles


def cycles(camera_view: dict, frame: int, folder: Path) -> dict[str, np.ndarray]:
    """Depth, normals (camera axes) and object index that Cycles finds through the centres of the pixels."""
    scene.add_camera(camera_view)
    bpy.context.scene.frame_set(frame)
    settings, layer = bpy.context.scene.render, bpy.context.view_layer
    settings.engine, bpy.context.scene.cycles.device = "CYCLES", "CPU"
    bpy.context.scene.cycles.samples = 1
    bpy.context.scene.cycles.use_denoising = False
    bpy.context.scene.cycles.pixel_filter_type, bpy.context.scene.cycles.filter_width = "BOX", 0.01
    layer.use_pass_z = layer.use_pass_normal = layer.use_pass_object_index = True
    settings.image_settings.file_format = "OPEN_EXR_MULTILAYER"
    settings.image_settings.color_depth, settings.filepath = "32", str(folder / "cycles.exr")
    bpy.ops.render.render(write_still=True)
    with OpenEXR.File(settings.filepath, separate_channels=True) as image:
        found = {name.split(".", 1)[1]: plane.pixels for name, plane in image.channels().items()}
    normals = np.stack([found[f"Normal.{axis}"] for axis in "XYZ"], axis=-1)
    return {
        "depth": found["Depth.Z"],
        "normals": normals @ np.array(camera_view["R"]).T,
        "instances": found["IndexOB.X"],
    }


def test_cycles_sees_the_same_depth_normals_and_people(pair, tmp_path):
    made = pair.film(wanted=["depth", "normals", "instances"], azimuth=20.0)
    scene.open_character(pair.folder / "character.blend")
    for index, person in enumerate(pair.facts["people"]):
        for mesh in person["meshes"]:
            bpy.data.objects[mesh].pass_index = index + 1
    theirs = cycles(frame_view(pair.bounds, {**ANGLE, "azimuth": 20.0}), 1, tmp_path)
    ours = made.instances[1]
    assert (ours != theirs["instances"]).mean() < 0.002  # their ray is up to a hundredth of a pixel off the centre
    both = (ours == theirs["instances"]) & (ours > 0)
    assert set(np.unique(ours[both])) == {1, 2}
    off = np.abs(made.depth[1] - theirs["depth"])[both]
    assert np.quantile(off, 0.99) < 5e-4 and np.median(off) < 5e-5
    angle = angles(made.normals[1][both], theirs["normals"][both])
    assert np.median(angle) < 0.05 and np.quantile(angle, 0.95) < 0.1  # Cycles bends those that graze the ray further


# People, parts, occluders


def test_labels_are_those_of_the_set_and_left_is_the_person_s_own(doll):
    made = doll.film(wanted=["instances", "parts"])
    assert set(np.unique(made.instances[1])) == {0, 1}
    numbers = {name: np.argwhere(made.parts[1] == number) for name, number in passes.PARTS.items()}
    assert {name for name, found in numbers.items() if len(found)} == set(passes.PARTS) - {"other"}
    assert set(np.unique(made.parts[1])) == {0, *range(1, 15)}
    np.testing.assert_array_equal(made.parts[1] > 0, made.instances[1] == 1)
    for name in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot"):  # the camera faces the person
        assert numbers[f"left_{name}"][:, 1].mean() > numbers[f"right_{name}"][:, 1].mean() + 5
    order = ("head", "torso", "left_thigh", "left_shin", "left_foot")
    assert np.all(np.diff([numbers[name][:, 0].mean() for name in order]) > 0)


@pytest.mark.parametrize("rig", ["daz_genesis3_8", "rigify", "unreal"])
def test_any_rig_has_all_parts(tmp_path, rig):
    path = write(tmp_path / "doll.blend", bone_map=rig)
    made = Doll(tmp_path, prepare({"file": str(path)}, tmp_path / "character.blend")).film(wanted=["parts"])
    assert set(np.unique(made.parts[1])) == {0, *range(1, 15)}


def test_a_joint_s_pixel_is_of_its_own_part(doll):
    made = doll.film(azimuth=10.0)
    rows = made.labels[(made.labels.visibility == 2) & made.labels.joint.isin(["left_knee", "right_elbow", "neck"])]
    parts = {"left_knee": ("left_thigh", "left_shin"), "neck": ("head", "torso")}
    parts["right_elbow"] = ("right_upper_arm", "right_forearm")
    assert len(rows) == 3
    for row in rows.itertuples():
        assert made.parts[1][int(row.v), int(row.u)] in [passes.PARTS[name] for name in parts[row.joint]]


def test_every_joint_is_of_one_part():
    stored = read_json(Path(passes.__file__).with_name("parts.json"))["parts"]
    assert sorted(joint for part in stored for joint in part["joints"]) == sorted(JOINTS)
    assert list(passes.PARTS.values()) == list(range(1, len(stored) + 1))
    assert passes.part_of_limb(-1) == passes.PARTS["other"]
    assert passes.part_of_limb(np.array([[JOINTS.index("left_wrist")]])) == [[passes.PARTS["left_hand"]]]


def test_whoever_is_nearer_hides_the_other_and_each_keeps_their_box(pair):
    made = pair.film([1, 3])
    whole = {}
    for person in (0, 1):
        scene.open_character(pair.folder / "character.blend")
        for mesh in pair.facts["people"][1 - person]["meshes"]:
            bpy.data.objects[mesh].hide_render = True
        one = {**pair.facts, "people": [pair.facts["people"][person]]}
        view = frame_view(pair.bounds, ANGLE)
        whole[person] = Filmed(one, view, [1], pair.folder / "alone", ["instances", "depth"])
    first, second = (whole[person].instances[1] == 1 for person in (0, 1))
    both = first & second
    assert both.sum() > 50
    np.testing.assert_array_equal(made.instances[1] == 2, second)
    np.testing.assert_array_equal(made.instances[1] == 1, first & ~second)
    np.testing.assert_array_equal(made.depth[1][both], whole[1].depth[1][both])
    assert made.told["checks"]["box_iou_min"] > 0.9  # also of the one that is hidden in part
    judge("front", made.told["checks"], LIMITS)


def test_what_is_nobody_s_hides_people_and_is_no_part(doll):
    def screen():
        bpy.ops.mesh.primitive_plane_add(size=0.5, location=(0.3, -0.8, 1.0), rotation=(np.pi / 2, 0, 0))
        bpy.context.object.name = "Occluder 0"

    free, made = doll.film([1, 2]), doll.film([1, 2], add=screen)
    hidden = made.instances[1] == passes.OCCLUDER
    assert hidden.sum() > 100
    assert (made.parts[1][hidden] == 0).all() and (made.depth[1][hidden] > 0).all()
    np.testing.assert_allclose(np.linalg.norm(made.normals[1][hidden], axis=-1), 1, atol=1e-3)
    assert (made.flow[1][hidden] == 0).all()  # it stands still
    for name in ALL:
        np.testing.assert_array_equal(getattr(made, name)[1][~hidden], getattr(free, name)[1][~hidden])
    judge("front", made.told["checks"], LIMITS)


def test_meshes_without_faces_or_size_are_not_seen_and_hurt_nothing(doll):
    def nothings():
        bpy.context.collection.objects.link(bpy.data.objects.new("Empty", bpy.data.meshes.new("Empty")))
        bpy.ops.mesh.primitive_cube_add(scale=(0, 0, 0), location=(0, -1, 1))

    free, made = doll.film([1, 2]), doll.film([1, 2], add=nothings)
    assert made.files == free.files
    assert made.told["checks"] == free.told["checks"]


def test_what_passes_behind_the_camera_has_no_flow_there(doll):
    def thrown():
        bpy.ops.mesh.primitive_plane_add(size=0.2, rotation=(np.pi / 2, 0, 0))
        for frame, y in ((1, -1.0), (2, -30.0)):
            bpy.context.object.location = (0.3, y, 1.0)
            bpy.context.object.keyframe_insert("location", frame=frame)

    made = doll.film([1, 2], ["flow", "instances"], add=thrown)
    gone = made.instances[1] == passes.OCCLUDER
    assert gone.any() and np.isnan(made.flow[1][gone]).all() and np.isfinite(made.flow[1][~gone]).all()


@pytest.mark.parametrize("name", ["shape_key.blend", "subsurf.blend", "solidify.fbx"])
def test_the_mesh_is_what_modifiers_and_shape_keys_make_of_it(tmp_path, name):
    made = doll_of(tmp_path, name).film([1, 4], azimuth=200.0)
    checks = made.told["checks"]
    assert checks["depth_max_mm"] <= 1000 * STEP["depth"] * 0.75  # half a step, along a ray aslant
    assert checks["first_surface"] == 1.0
    judge("front", checks, LIMITS)


def test_a_mesh_that_is_made_anew_in_each_frame_has_all_but_flow(tmp_path):
    folder = tmp_path
    make(folder, "plain.blend")
    bpy.ops.wm.open_mainfile(filepath=str(folder / "plain.blend"))
    mesh = next(o for o in bpy.data.objects if o.type == "MESH")
    modifier = mesh.modifiers.new("Grow", "BUILD")
    modifier.frame_start, modifier.frame_duration = -10, 20
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "grows.blend"))
    grown = Doll(folder, prepare({"file": str(folder / "grows.blend")}, folder / "character.blend"))
    made = grown.film([1, 5], ["depth", "normals", "instances", "parts"])
    assert (made.parts[5] > 0).sum() > (made.parts[1] > 0).sum()
    assert made.told["checks"]["first_surface"] == 1.0
    with pytest.raises(PoseFactoryError, match='"Body" in frame 1 .* in frame 5, .*: remove flow from render.passes'):
        grown.film([1, 5], ["flow"])


def test_the_same_bytes_twice_and_nothing_stays_in_memory(doll):
    once = doll.film([1, 2, 3]).files
    known = len(bpy.data.meshes), len(bpy.data.objects)
    made = doll.film([1, 2, 3])
    assert made.files == once and len(once) == 14
    assert (len(bpy.data.meshes), len(bpy.data.objects)) == known
    sizes = {name: sum(len(data) for file, data in once.items() if file.startswith(name)) for name in ALL}
    assert {name: told["bytes"] for name, told in made.told["passes"].items()} == sizes
    assert {name: told["files"] for name, told in made.told["passes"].items()} == dict.fromkeys(ALL, 3) | {"flow": 2}
    assert made.told["passes"]["normals"]["raw_bytes"] == 3 * 96 * 112 * 12


# What contradicts is found


def shifted_boxes(_, boxes):
    boxes[["x_min", "x_max"]] += 4


def grown_boxes(_, boxes):
    boxes["x_max"] += 2


def shrunken_boxes(_, boxes):
    boxes["y_min"] += 2


def exchanged_visibility(labels, _):
    labels["visibility"] = labels.visibility.map({0: 0, 1: 2, 2: 1})


def rewritten(monkeypatch, name: str, change):
    """All values of the pass `name` are changed before they are looked at."""
    stored = passes.PASSES[name]
    rounded = type(stored).rounded
    monkeypatch.setattr(
        type(stored), "rounded", lambda self, values: rounded(self, change(values) if self is stored else values)
    )


@pytest.mark.parametrize(
    ("limit", "name", "change"),
    [
        ("depth_mm", "depth", lambda depth: np.where(depth > 0, depth + 5e-4, 0)),
        ("first_surface", "depth", lambda depth: np.where(depth > 0, depth + 2e-3, 0)),
        ("normals_degrees", "normals", lambda normals: normals * [1, -1, 1]),
        ("flow", "flow", lambda flow: -flow),
        ("flow", "flow", lambda flow: flow + 1.5),
        ("box_px", "", shifted_boxes),
        ("box_px", "", grown_boxes),
        ("box_px", "", shrunken_boxes),
        ("visibility", "", exchanged_visibility),
    ],
)
def test_passes_that_contradict_the_mesh_or_the_labels_break_a_limit(doll, monkeypatch, limit, name, change):
    if name:
        rewritten(monkeypatch, name, change)
    made = doll.film([1, 3], change=(lambda *_: None) if name else change)
    with pytest.raises(PoseFactoryError, match=rf"'front' contradict .*validation\.passes\.{limit} is"):
        judge("front", made.told["checks"], {**dict.fromkeys(LIMITS, np.nan), limit: LIMITS[limit]})
    with pytest.raises(PoseFactoryError):
        judge("front", made.told["checks"], LIMITS)


# Storing and reading


@pytest.mark.parametrize(
    ("name", "low", "high", "channels"), [("depth", 0.3, 40, 0), ("flow", -900, 900, 2), ("normals", -1, 1, 3)]
)
def test_stored_values_are_within_the_stated_error(tmp_path, name, low, high, channels):
    values = np.random.default_rng(0).uniform(low, high, (70, 50, channels) if channels else (70, 50))
    if name == "normals":
        values /= np.linalg.norm(values, axis=-1, keepdims=True)
    path = passes.file(tmp_path, name, 7)
    size = passes.write(path, name, passes.PASSES[name].rounded(values))
    read = passes.READERS[name](path)
    assert path.name == "0007.exr" and path.stat().st_size == size
    assert read.dtype == np.float32 and read.shape == values.shape
    error = np.abs(read - values).max()
    assert 0.9 * passes.PASSES[name].error < error <= passes.PASSES[name].error
    if name == "normals":
        cosine = (read * values).sum(axis=-1) / np.linalg.norm(read, axis=-1)
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.025
        assert np.abs(np.linalg.norm(read, axis=-1) - 1).max() < 5e-4
    assert passes.PASSES["depth"].error < 5e-5 and passes.PASSES["flow"].error < 0.002  # metres, pixels


def test_labels_are_stored_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8)
    for name in ("instances", "parts"):
        path = passes.file(tmp_path, name, 12345)
        passes.write(path, name, passes.PASSES[name].rounded(values))
        np.testing.assert_array_equal(passes.READERS[name](path), values)
        assert path.name == "12345.png"


@pytest.mark.parametrize("name", ALL)
def test_a_file_that_is_missing_or_damaged_is_told(tmp_path, name):
    path = passes.file(tmp_path, name, 1)
    with pytest.raises(PoseFactoryError, match=re.escape(str(path))):
        passes.READERS[name](path)
    shape = (60, 50, len(passes.PASSES[name].channels)) if passes.PASSES[name].channels else (60, 50)
    values = np.random.default_rng(0).uniform(0, 200, shape)
    passes.write(path, name, passes.PASSES[name].rounded(values))
    whole = path.read_bytes()
    for cut in (0, 20, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(PoseFactoryError, match="missing"):
            passes.READERS[name](path)


# The document


DOCUMENT = (Path(__file__).parents[1] / "docs" / "passes.md").read_text()


def test_the_documents_code_runs_and_the_readers_agree(doll):
    """Ours, plain OpenEXR and OpenCV; in a process of its own, because OpenCV reads its variable once."""
    made = doll.film([1, 3])
    view = doll.folder / "results" / "ada" / "front"
    shutil.rmtree(view.parent, ignore_errors=True)
    shutil.copytree(made.folder, view / "passes")
    camera = frame_view(doll.bounds, ANGLE)
    (view / "camera.json").write_text(json.dumps(camera))
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(blocks) == 3
    checks = """
np.testing.assert_array_equal(ours["depth"], depth)
np.testing.assert_array_equal(ours["normals"], normals)
np.testing.assert_array_equal(ours["flow"], flow)
np.testing.assert_array_equal(ours["parts"], parts)
"""
    keep = "import numpy as np\nours = {'depth': depth, 'normals': normals, 'flow': flow, 'parts': parts}\n"
    code = blocks[0] + "assert points.shape == (person.sum(), 3)\n" + keep + blocks[1] + checks + blocks[2] + checks
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=doll.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# In the workflow


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Workflow:
    folder = tmp_path_factory.mktemp("ran")
    character = make(folder / "My Characters", "with spaces in its name.fbx")
    config = {
        "characters": {"doll": {"file": str(character)}},
        "cameras": {"resolution": [64, 64], "angles": {"front": 0}},
        "render": {"samples": 1, "denoise": False, "frames": {"step": 2}, "passes": ["parts", "depth"]},
    }
    workflow = Workflow.new(folder / "repository", config)
    run = workflow.run("--cores", "2", "results/doll/front/passes.json", "results/doll/front/render.json")
    assert run.status == 0, run.console
    return workflow


def test_a_run_makes_the_passes_that_are_asked_for_and_no_others(ran):
    told = read_json(ran.root / "results/doll/front/passes.json")
    frames = read_json(ran.root / "results/doll/front/render.json")["frames"]
    assert list(told["passes"]) == ["depth", "parts"] and told["frames"] == frames and len(frames) == 3
    expected = [f"doll/front/passes/depth/{frame:04d}.exr" for frame in frames]
    expected += [f"doll/front/passes/parts/{frame:04d}.png" for frame in frames]
    assert ran.results("doll/front/passes/*/*") == expected
    assert [Path(name).name for name in ran.results("doll/front/passes/[!.]*")] == ["depth", "parts"]
    assert {name for name, value in told["checks"].items() if value is None} == FLOW
    assert not ran.results("doll/front/.*")
    log = (ran.root / "results/doll/front/logs/passes.log").read_text()
    assert f"Frame {frames[1]}: 2 of 3." in log


def test_other_passes_make_these_stale_and_no_picture(ran, tmp_path):
    workflow = ran.copy(tmp_path / "copy")
    targets = ["results/doll/front/passes.json", "results/doll/front/render.json"]
    workflow.change("render.passes", ["depth", "parts"])  # in another order
    assert workflow.plan(*targets) == set()
    workflow.change("render.passes", ["depth", "flow"])
    plan = workflow.plan()
    assert jobs("passes", ["doll"], ["front"]) < plan and not jobs("render", ["doll"], ["front"]) & plan
    workflow.change("render.passes", [])
    assert not jobs("passes", ["doll"], ["front"]) & workflow.plan()


def test_a_limit_that_is_broken_or_a_disk_that_is_full_leaves_nothing(ran, tmp_path):
    workflow = ran.copy(tmp_path / "copy")
    workflow.change("validation", {"passes": {"box_px": 0.001}})
    run = workflow.run("--cores", "2", "results/doll/front/passes.json")
    assert run.status != 0
    (told,) = run.sentences
    assert told.startswith("passes doll front: The passes of view 'front' contradict")
    assert "(validation.passes.box_px is 0.001)" in told
    workflow.change("validation", {})
    sizes = [path.stat().st_size for path in (ran.root / "results/doll/front/passes/depth").glob("*.exr")]
    workflow.replace(
        "workflow/scripts/passes.py",
        "with job(snakemake):\n",
        "import resource\n\nwith job(snakemake):\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, ({min(sizes) - 100}, resource.RLIM_INFINITY))\n",
    )
    run = workflow.run("--cores", "2", "results/doll/front/passes.json")
    assert run.status != 0
    (told,) = run.sentences
    assert re.match(r"passes doll front: Cannot write .*/depth/\d+\.exr: File too large; free some space", told)
    assert not workflow.results("doll/front/passes*") and not workflow.results("doll/front/.*")
