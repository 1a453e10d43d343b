"""Scenes of several people: each where the config says, at its own speed, and labelled exactly, whoever hides it."""

import bpy
import numpy as np
import pytest
from angles import angle
from characters import make, write
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from pose_factory.blender import actions, bounds, evaluate, ground_truth, scene
from pose_factory.blender.prepare import prepare
from pose_factory.blender.staging import stage
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view
from pose_factory.geometry.playback import on_floor
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.validation.ground_truth_check import check_character

ANGLE = angle()
CROSSING = {
    "people": [
        {"character": "far", "from": [-1.0, 0.0], "to": [1.0, 0.0]},
        {"character": "near", "from": [1.0, -0.9], "to": [-1.0, -0.9]},
    ]
}


class Members:
    """Prepared dolls, by name."""

    def __init__(self, folder) -> None:
        self.folder, self.prepared = folder, {}

    def add(self, name: str, path, **settings) -> None:
        blend = self.folder / f"{name}.blend"
        self.prepared[name] = blend, prepare({"name": name, "file": str(path), **settings}, blend)

    def stage(self, people: list[dict], **settings) -> dict:
        """Build a scene and open it."""
        names = {person["character"] for person in people}
        path, people = self.folder / "scene.blend", [{"from": [0.0, 0.0], **person} for person in people]
        facts = stage({"people": people, **settings}, {name: self.prepared[name] for name in names}, path)
        scene.open_character(path)
        return facts

    def alone(self, name: str, frames) -> np.ndarray:
        """(F, J, 3) a member's joints in its own file at (fractional) offsets from its first frame."""
        blend, facts = self.prepared[name]
        scene.open_character(blend)
        return joints_of(facts, [facts["first_frame"] + frame for frame in frames])[:, 0]


def joints_of(facts: dict, frames) -> np.ndarray:
    """(F, P, J, 3) where the people's bones are in the open scene at these frames, which may be fractional."""
    places = np.full((len(frames), len(facts["people"]), len(JOINTS), 3), np.nan)
    for row, frame in zip(places, frames, strict=True):
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        for person, joints in zip(facts["people"], row, strict=True):
            rig = bpy.data.objects[person["armature"]]
            for joint, at in person["joints"].items():
                joints[INDEX[joint]] = rig.matrix_world @ getattr(rig.pose.bones[at["bone"]], at["end"])
    return places


def own_pose(joints: np.ndarray) -> np.ndarray:
    """(..., J, 3) relative to the place on the floor, turned so that the hips at the first index lie along x."""
    centred = joints - on_floor(joints)[..., None, :]
    x, y = (centred[..., INDEX["left_hip"], :] - centred[..., INDEX["right_hip"], :]).reshape(-1, 3)[0, :2]
    cos, sin = np.array([x, y]) / np.hypot(x, y)
    return centred @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def facing(joints: np.ndarray) -> np.ndarray:
    """(..., 2) the direction that the feet point to, on the floor."""
    toes = joints[..., INDEX["left_foot"], :2] - joints[..., INDEX["left_ankle"], :2]
    return toes / np.linalg.norm(toes, axis=-1, keepdims=True)


def march(path):
    """A doll whose arm swings once in 8 frames, over frames 3 to 10, while it goes 8 cm a frame; the curves of its
    other bones have no keys."""
    write(path, frames=2)
    (rig,) = [o for o in bpy.context.scene.objects if o.type == "ARMATURE"]
    for curve in actions.fcurves(rig.animation_data.action):
        curve.keyframe_points.clear()
    arm, hips = rig.pose.bones["mixamorig:LeftArm"], rig.pose.bones["mixamorig:Hips"]
    along = hips.bone.matrix_local.to_3x3().inverted() @ Vector((0, -0.08, 0))
    for frame in range(8):
        arm.rotation_quaternion = (1, 0.3 * np.sin(2 * np.pi * frame / 8), 0, 0)
        hips.location = along * frame
        arm.keyframe_insert("rotation_quaternion", frame=3 + frame)
        hips.keyframe_insert("location", frame=3 + frame)
    for point in [point for curve in actions.fcurves(rig.animation_data.action) for point in curve.keyframe_points]:
        point.interpolation = "LINEAR"
    bpy.ops.wm.save_mainfile(filepath=str(path))
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory) -> Members:
    folder = tmp_path_factory.mktemp("members")
    found = Members(folder)
    found.add("far", make(folder, "late_start.blend"))
    found.add("near", write(folder / "tall.blend", height=1.8, frames=40))
    found.add("split", make(folder, "split.fbx"))
    found.add("short", make(folder, "plain.fbx"))
    found.add("fast", make(folder, "fps_60.fbx"))
    found.add("march", march(folder / "march.blend"))
    return found


# Where people are, and when


def test_people_go_from_where_to_where_the_config_says_and_face_along_their_way(members):
    people = [
        {"character": "far", "from": [-1.0, 0.5], "to": [1.0, 0.0]},
        {"character": "near", "from": [1.0, -0.9], "to": [-1.0, -0.9], "facing": 30},
        {"character": "short", "from": [0.0, 1.0]},
    ]
    facts = members.stage(people, frames=25)
    assert [person["name"] for person in facts["people"]] == ["far", "near", "short"]
    assert (facts["first_frame"], facts["last_frame"], facts["fps"]) == (1, 25, 30)
    joints = joints_of(facts, [1, 25])
    for index, person in enumerate(people):
        np.testing.assert_allclose(on_floor(joints)[0, index, :2], person["from"], atol=1e-5)
        if "to" in person:
            np.testing.assert_allclose(on_floor(joints)[1, index, :2], person["to"], atol=1e-5)
    angles = np.array([np.arctan2(2.0, 0.5), np.radians(30), 0])
    np.testing.assert_allclose(facing(joints[0]), np.stack([np.sin(angles), -np.cos(angles)], axis=1), atol=1e-4)


def test_without_an_end_a_person_goes_its_own_way_where_it_faces(members):
    facts = members.stage([{"character": "far", "from": [0.3, 0.4], "facing": 90}])
    assert facts["last_frame"] == 25
    way = np.diff(on_floor(joints_of(facts, [1, 25]))[:, 0], axis=0)[0]
    own = np.diff(on_floor(members.alone("far", [0, 24])), axis=0)[0]
    assert own[1] < -0.4
    np.testing.assert_allclose(way, [-own[1], own[0], 0], atol=1e-5)


def test_every_frame_is_the_members_own_pose(members):
    facts = members.stage(CROSSING["people"], frames=25)
    joints = joints_of(facts, range(1, 26))
    for index, name in enumerate(("far", "near")):
        alone = members.alone(name, range(25))
        np.testing.assert_allclose(own_pose(joints[:, index]), own_pose(alone), atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "shape_key.blend",
        "ik.blend",
        "copy_rotation.blend",
        "subsurf.blend",
        "centimetres.fbx",
        "plain.glb",
        "still.glb",
    ],
)
def test_a_member_keeps_its_skin_whatever_moves_it(tmp_path, name):
    """Beside another of its kind: shape keys, constraints and their targets, modifiers, scaled armatures."""
    members = Members(tmp_path)
    members.add("doll", make(tmp_path, name))
    _, own = members.prepared["doll"]
    frames = [own["first_frame"], own["last_frame"]]
    scene.open_character(tmp_path / "doll.blend")
    alone = np.stack([evaluate.vertices(evaluate.character_meshes()) for _ in evaluate.each_frame(frames)])
    centre = on_floor(joints_of(own, frames[:1])[0, 0])
    facts = members.stage([{"character": "doll", "from": [3, 0], "facing": 90}, {"character": "doll"}])
    for index, person in enumerate(facts["people"]):
        meshes = [bpy.data.objects[mesh] for mesh in person["meshes"]]
        seen = np.stack([evaluate.vertices(meshes) for _ in evaluate.each_frame([1, facts["last_frame"]])])
        x, y, z = np.moveaxis(alone - centre, -1, 0)
        expected = np.stack([3 - y, x, z] if index == 0 else [x, y, z], axis=-1)
        np.testing.assert_allclose(seen, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("fps", "last", "short", "fast"),
    [
        (None, 5, [0, 1, 2, 3, 4], [0, 2, 4, 4, 4]),
        (60.0, 9, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], [0, 1, 2, 3, 4, 4, 4, 4, 4]),
        (12.0, 2, [0, 2.5], [0, 4]),
    ],
)
def test_members_of_other_frame_rates_keep_their_speed_and_hold_their_last_pose(members, fps, last, short, fast):
    people = [{"character": "short"}, {"character": "fast", "from": [2, 0], "to": [2, 0]}]
    facts = members.stage(people, **({"fps": fps} if fps else {}))
    assert (facts["last_frame"], facts["fps"]) == (last, fps or 30)
    assert bpy.context.scene.render.fps / bpy.context.scene.render.fps_base == facts["fps"]
    joints = joints_of(facts, range(1, last + 1))
    for index, (name, frames) in enumerate((("short", short), ("fast", fast))):
        np.testing.assert_allclose(own_pose(joints[:, index]), own_pose(members.alone(name, frames)), atol=1e-4)
    whole, held = (person["warnings"] for person in facts["people"])
    assert not whole and "last pose is held" in held[-1]


def test_a_motion_that_leads_back_to_its_beginning_starts_over_and_goes_on(members):
    facts = members.stage([{"character": "march"}], frames=30)
    assert "starts over" in facts["people"][0]["warnings"][-1]
    joints = joints_of(facts, range(1, 31))[:, 0]
    np.testing.assert_allclose(np.diff(on_floor(joints), axis=0), np.tile([0, -0.08, 0], (29, 1)), atol=1e-4)
    np.testing.assert_allclose(own_pose(joints), own_pose(members.alone("march", np.arange(30) % 8)), atol=1e-4)
    assert np.nanmax(np.ptp(own_pose(joints), axis=0)) > 0.2
    twice = members.stage([{"character": "march"}], frames=59, fps=60)
    np.testing.assert_allclose(joints_of(twice, range(1, 60, 2))[:, 0], joints, atol=1e-4)
    steps = np.diff(on_floor(joints_of(twice, range(1, 60)))[:, 0], axis=0)
    np.testing.assert_allclose(steps, np.tile([0, -0.04, 0], (58, 1)), atol=1e-4)


def test_one_character_may_come_twice_and_shares_nothing(members):
    facts = members.stage(
        [
            {"character": "split", "from": [-1, 0]},
            {"character": "split", "from": [1, 0], "facing": 180},
        ]
    )
    one, other = facts["people"]
    assert one["armature"] != other["armature"]
    assert len(one["meshes"]) == 2 and not set(one["meshes"]) & set(other["meshes"])
    assert {o.name for o in evaluate.character_meshes()} == {*one["meshes"], *other["meshes"]}
    joints = joints_of(facts, [1, 3])
    np.testing.assert_allclose(own_pose(joints[:, 0]), own_pose(joints[:, 1]), atol=1e-5)
    np.testing.assert_allclose(on_floor(joints)[0, :, :2], [[-1, 0], [1, 0]], atol=1e-5)
    for person, root in zip(facts["people"], joints[0], strict=True):
        meshes = [bpy.data.objects[name] for name in person["meshes"]]
        bpy.context.scene.frame_set(1)
        centre = evaluate.vertices(meshes).mean(axis=0)
        np.testing.assert_allclose(centre[:2], on_floor(root)[:2], atol=0.1)


def test_everybody_stands_on_the_floor_within_the_bounds(members):
    facts = members.stage(CROSSING["people"], frames=25)
    measured = bounds.measure(facts)
    lowest = np.inf
    for _ in evaluate.each_frame(range(1, 26)):
        for person in facts["people"]:
            vertices = evaluate.vertices([bpy.data.objects[name] for name in person["meshes"]])
            assert (vertices >= np.array(measured["low"]) - 1e-6).all()
            assert (vertices <= np.array(measured["high"]) + 1e-6).all()
            lowest = min(lowest, vertices[:, 2].min())
            assert vertices[:, 2].min() < 0.2
    assert lowest == pytest.approx(0, abs=1e-4)


# Labels


@pytest.fixture(scope="module")
def crossing(members):
    """The crossing's facts, its view from the front, and a function that labels it."""
    facts = members.stage(CROSSING["people"], frames=25)
    view = frame_view(bounds.measure(facts), {**ANGLE, "azimuth": 0.0})
    blend = members.folder / "crossing.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), copy=True)

    def label(people=(0, 1), view=view, frames=tuple(range(1, 26, 3))):
        """The labels of some of the people; the others are not there."""
        scene.open_character(blend)
        for index, person in enumerate(facts["people"]):
            if index not in people:
                for mesh in person["meshes"]:
                    bpy.data.objects.remove(bpy.data.objects[mesh])
        return ground_truth.label({**facts, "people": [facts["people"][i] for i in people]}, view, list(frames))

    label.facts, label.view, label.blend = facts, view, blend
    return label


def test_each_person_is_labelled_where_its_own_bones_are(crossing):
    labels, boxes, check = crossing()
    frames = np.arange(1, 26, 3)
    assert labels.frame.tolist() == np.repeat(frames, 2 * len(JOINTS)).tolist()
    assert labels.person.tolist() == np.tile(np.repeat([0, 1], len(JOINTS)), len(frames)).tolist()
    assert labels.joint.tolist() == JOINTS * 2 * len(frames)
    assert boxes[["frame", "person"]].to_numpy().tolist() == [[frame, person] for frame in frames for person in (0, 1)]
    scene.open_character(crossing.blend)
    expected = joints_of(crossing.facts, frames)
    np.testing.assert_allclose(labels[["x", "y", "z"]].to_numpy().reshape(expected.shape), expected, atol=1e-6)
    assert check["reprojection_max_px"] < 0.01
    assert check["inside_silhouette"] == 1, "also of who is hidden"


def test_who_stands_before_somebody_hides_exactly_what_a_ray_test_says(crossing):
    """Oracle: a BVH tree of the other's mesh, and the labels of each person without the other."""
    labels, _, _ = crossing()
    alone = [crossing((person,))[0] for person in (0, 1)]
    scene.open_character(crossing.blend)
    eye = Vector(Camera.from_json(crossing.view).position)
    hidden = {0: 0, 1: 0}
    for frame, person, rows in ((f, p, rows) for (f, p), rows in labels.groupby(["frame", "person"])):
        bpy.context.scene.frame_set(frame)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        (mesh,) = crossing.facts["people"][1 - person]["meshes"]
        other = bpy.data.objects[mesh]
        tree, inverse = BVHTree.FromObject(other, depsgraph), other.matrix_world.inverted()
        by_itself = alone[person][alone[person].frame == frame]
        for row, own in zip(rows.itertuples(), by_itself.itertuples(), strict=True):
            if not row.visibility:
                assert not own.visibility
                continue
            start, end = inverse @ eye, inverse @ Vector((row.x, row.y, row.z))
            before = tree.ray_cast(start, end - start, (end - start).length)[0] is not None
            assert row.visibility == (1 if before else own.visibility), (frame, person, row.joint)
            hidden[person] += before and own.visibility == 2
    assert hidden[0] > 5 and hidden[1] == 0


def test_however_near_the_other_person_is_it_hides_what_is_behind_it(members):
    """Half in one another, so that the surface over a joint is within its own flesh, only not of its own."""
    facts = members.stage([{"character": "short"}, {"character": "short", "from": [0, -0.03]}])
    view = frame_view(bounds.measure(facts), {**ANGLE, "azimuth": 0.0, "elevation": 0.0})
    labels, _, check = ground_truth.label(facts, view, [1])
    states = labels[labels.x.notna()].groupby("person").visibility.unique()
    assert states[0].tolist() == [1] and states[1].tolist() == [2]
    assert check["inside_silhouette"] == 1


def test_boxes_and_areas_are_of_the_whole_person_whoever_stands_before_it(crossing):
    _, boxes, _ = crossing()
    for person in (0, 1):
        together = boxes[boxes.person == person].drop(columns="person").to_numpy()
        alone = crossing((person,))[1].drop(columns="person").to_numpy()
        np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_labels_of_all_views_triangulate_back_to_each_person(crossing):
    views = {}
    for azimuth in (0.0, 90.0, 200.0):
        view = frame_view(bounds_of(crossing), {**ANGLE, "azimuth": azimuth})
        views[str(azimuth)] = (crossing(view=view, frames=(1, 13, 25))[0], Camera.from_json(view))
    result = check_character(views, tolerance_mm=0.01, tolerance_px=1e-6)
    assert result["people"] == 2 and result["frames"] == 3
    assert result["triangulation"]["max_mm"] < 0.01


def bounds_of(crossing) -> dict:
    scene.open_character(crossing.blend)
    return bounds.measure(crossing.facts)
