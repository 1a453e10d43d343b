"""Labels of a real character: where joints are, what hides them, and that a wrong rig or camera does not go
unnoticed."""

import bpy
import numpy as np
import pytest
from angles import angle
from characters import make
from mathutils import Vector

from pose_factory.blender import bounds, ground_truth, scene
from pose_factory.blender.prepare import prepare
from pose_factory.errors import PoseFactoryError
from pose_factory.frames import select
from pose_factory.geometry import visibility
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import frame_view
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.validation.ground_truth_check import check_character
from pose_factory.validation.view_check import check_view

ANGLE = angle(framing="ring")
LIMITS = (0.01, 0.95)  # px, fraction inside the silhouette


class Doll:
    """A prepared character that can be labelled from any azimuth."""

    def __init__(self, folder, source: dict) -> None:
        self.blend = folder / "character.blend"
        self.facts = prepare(source, self.blend)
        (person,) = self.facts["people"]
        self.joints = person["joints"]
        scene.open_character(self.blend)
        self.bounds = bounds.measure(self.facts)

    def view(self, azimuth: float, **angle) -> dict:
        return frame_view(self.bounds, {**ANGLE, "azimuth": azimuth, **angle})

    def label(self, view: dict, frames: list[int] | None = None, add=lambda: None):
        scene.open_character(self.blend)
        add()
        frames = frames or select(self.facts["first_frame"], self.facts["last_frame"], "all")
        return ground_truth.label(self.facts, view, frames)


@pytest.fixture(scope="module")
def doll(tmp_path_factory) -> Doll:
    folder = tmp_path_factory.mktemp("doll")
    return Doll(folder, {"file": str(make(folder, "plain.fbx"))})


@pytest.fixture(scope="module")
def person(tmp_path_factory) -> Doll:
    """An Anny body, whose face is labelled, too."""
    anny = {"phenotype": {"age": 0.67}, "motion": "walk", "frames": 2, "fps": 24, "look": {}}
    return Doll(tmp_path_factory.mktemp("person"), {"anny": anny})


def states(labels, frame: int) -> dict[str, int]:
    rows = labels[labels.frame == frame]
    return dict(zip(rows.joint, rows.visibility, strict=True))


def test_every_frame_has_every_joint_where_the_camera_projects_it(doll):
    view = doll.view(30)
    labels, boxes, check = doll.label(view)
    frames = range(doll.facts["first_frame"], doll.facts["last_frame"] + 1)
    assert labels.joint.tolist() == JOINTS * len(frames)
    assert labels.frame.tolist() == [frame for frame in frames for _ in JOINTS]
    pixels, depth = Camera.from_json(view).project(labels[["x", "y", "z"]].to_numpy())
    np.testing.assert_allclose(labels[["u", "v"]].to_numpy(), pixels)
    np.testing.assert_allclose(labels.depth, depth)
    np.testing.assert_allclose(np.diff(np.unique(labels.time)), 1 / doll.facts["fps"])
    annotated = labels.joint.isin(list(doll.joints))
    assert labels.x.notna().equals(annotated)
    assert (labels.visibility[~annotated] == 0).all()
    assert check["reprojection_max_px"] < 0.01
    assert check["inside_silhouette"] == 1
    check_view("front", check, *LIMITS)
    assert list(boxes.frame) == list(frames)
    assert (labels.person == 0).all() and (boxes.person == 0).all()


def test_box_holds_the_body_and_area_is_the_silhouettes(doll):
    """Boxes reach the margin in some frame; the area agrees with a finely sampled silhouette."""
    view = doll.view(0, framing="each")
    _, boxes, _ = doll.label(view)
    assert (boxes.x_min >= 0.05 * 320 - 1e-3).all() and (boxes.x_max <= 0.95 * 320 + 1e-3).all()
    assert (boxes.y_min >= 0.05 * 240 - 1e-3).all() and (boxes.y_max <= 0.95 * 240 + 1e-3).all()
    camera, row = Camera.from_json(view), boxes.iloc[0]
    bpy.context.scene.frame_set(int(row.frame))
    depsgraph = bpy.context.evaluated_depsgraph_get()
    hits = 0
    for v in np.arange(row.y_min, row.y_max, 1.0) + 0.5:
        for u in np.arange(row.x_min, row.x_max, 1.0) + 0.5:
            ray = camera.R.T @ np.linalg.inv(camera.K) @ [u, v, 1]
            hits += bpy.context.scene.ray_cast(depsgraph, camera.position, ray)[0]
    assert row.area == pytest.approx(hits, rel=0.05)


def test_the_near_side_hides_the_far_side(doll):
    first = doll.facts["first_frame"]
    front = states(doll.label(doll.view(0), [first])[0], first)
    assert all(front[joint] == 2 for joint in doll.joints)
    left_side = states(doll.label(doll.view(90, elevation=0), [first])[0], first)
    assert {left_side[joint] for joint in ("left_knee", "left_ankle", "left_hip")} == {2}
    assert left_side["left_shoulder"] == 1  # the T-pose's left arm points at the camera and hides it
    assert {left_side[joint] for joint in ("right_wrist", "right_elbow", "right_knee", "right_hip")} == {1}
    right_side = states(doll.label(doll.view(270, elevation=0), [first])[0], first)
    assert {right_side[joint] for joint in ("left_wrist", "left_elbow", "left_knee", "left_hip")} == {1}


@pytest.mark.parametrize(
    ("azimuth", "hidden"),
    [
        (0, set()),
        (90, {"right_eye", "right_ear"}),
        (180, {"nose", "left_eye", "right_eye"}),
        (270, {"left_eye", "left_ear"}),
    ],
)
def test_a_face_is_seen_from_where_it_looks(person, azimuth, hidden):
    first = person.facts["first_frame"]
    seen = states(person.label(person.view(azimuth), [first])[0], first)
    assert {joint for joint in visibility.FACE if seen[joint] != 2} == hidden


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_whoever_stands_before_the_camera_is_seen_however_thick(tmp_path, weight):
    """A body at the start of a squat: nothing is before it; from the side, its far side is hidden."""
    phenotype = {"gender": 0.0, "age": 0.67, "weight": weight, "height": 0.35}
    anny = {"phenotype": phenotype, "motion": "squat", "frames": 12, "fps": 12, "look": {}}
    body = Doll(tmp_path, {"anny": anny})
    limbs = [joint for joint in JOINTS if any(part in joint for part in ("shoulder", "elbow", "hip", "knee", "ankle"))]
    for azimuth in (0, 180):
        seen = states(body.label(body.view(azimuth), [1])[0], 1)
        assert [joint for joint in limbs if seen[joint] != 2] == []
    far = states(body.label(body.view(90, elevation=0), [1])[0], 1)
    assert {far[f"right_{part}"] for part in ("shoulder", "hip", "knee")} == {1}
    assert {far[f"left_{part}"] for part in ("shoulder", "elbow", "knee", "ankle")} == {2}


def test_another_surface_hides_what_is_behind_it(doll):
    first = doll.facts["first_frame"]
    labels, _, _ = doll.label(doll.view(0), [first])
    wrist = labels[labels.joint == "left_wrist"][["x", "y", "z"]].to_numpy()[0]

    def screen():
        bpy.ops.mesh.primitive_plane_add(
            size=0.3, location=Vector(wrist) + Vector((0, -0.5, 0)), rotation=(np.pi / 2, 0, 0)
        )

    hidden = states(doll.label(doll.view(0), [first], screen)[0], first)
    assert hidden["left_wrist"] == 1
    assert hidden["right_wrist"] == 2


def test_joints_outside_the_image_are_not_labelled(doll):
    view = doll.view(0)
    view = {**view, "K": [[900, 0, 160], [0, 900, 120], [0, 0, 1]], "focal_length_mm": 900 * 36 / 320}
    labels, _, _ = doll.label(view)
    outside = labels.x.notna() & ~labels.inside
    assert outside.any()
    assert (labels.visibility[outside] == 0).all()
    assert (labels.visibility[labels.inside] > 0).all()


def test_labels_of_all_views_triangulate_back(doll):
    views = {}
    for azimuth in range(0, 360, 45):
        view = doll.view(azimuth)
        views[str(azimuth)] = (doll.label(view)[0], Camera.from_json(view))
    result = check_character(views, tolerance_mm=0.01, tolerance_px=1e-6)
    assert result["triangulation"]["max_mm"] < 0.01


def test_a_camera_that_is_not_as_written_and_a_rig_outside_its_skin_are_errors(doll):
    check = doll.label(doll.view(0), [doll.facts["first_frame"]])[2]
    for drift in (0.02, np.nan):
        with pytest.raises(PoseFactoryError, match="reprojection_px"):
            check_view("front", {**check, "reprojection_max_px": drift}, *LIMITS)

    def slip():
        for o in bpy.context.scene.objects:
            if o.type == "MESH":
                o.location.x += 5

    check = doll.label(doll.view(0), [doll.facts["first_frame"]], slip)[2]
    assert check["inside_silhouette"] == 0
    with pytest.raises(PoseFactoryError, match="silhouette"):
        check_view("front", check, *LIMITS)


def test_flesh_is_the_radius_of_a_limb_and_ignores_what_blocks_some_directions():
    """Outside-in distances to a cylinder of radius 0.05: r / sin(angle to its axis); a quarter of them blocked far
    out."""
    directions = visibility.sphere_directions(400)
    radius = 0.05 / np.sqrt(1 - directions[:, 2] ** 2)
    assert visibility.flesh_thickness(radius[None, None])[0] == pytest.approx(0.05, rel=0.1)
    blocked = np.where(directions[:, 0] > 0.5, 0.4, radius)
    assert visibility.flesh_thickness(blocked[None, None])[0] == pytest.approx(0.05, rel=0.2)


def test_a_joint_on_the_skin_has_no_flesh_where_nothing_covers_it():
    """An ear: nothing before it on its own side of the head, the head's other side from there."""
    directions = visibility.sphere_directions(400)
    covered = np.where(directions[:, 0] > 0.2, np.nan, 0.15)
    assert visibility.flesh_thickness(covered[None, None])[0] == 0


def test_visibility_asks_how_near_the_surface_is_and_whose_it_is():
    flesh = np.full(len(JOINTS), 0.05)
    gap = np.full(len(JOINTS), 0.06)
    own = np.arange(len(JOINTS))
    assert visibility.visible(gap, own, flesh).all()
    far = visibility.visible(gap + 0.1, own, flesh)
    assert [joint for joint, seen in zip(JOINTS, far, strict=True) if seen] == ["left_foot", "right_foot"]
    hand_on_hip = own.copy()
    hand_on_hip[INDEX["left_hip"]] = INDEX["left_wrist"]
    assert not visibility.visible(gap, hand_on_hip, flesh)[INDEX["left_hip"]]
    assert visibility.visible(np.full(len(JOINTS), np.nan), np.full(len(JOINTS), -1), flesh).all()


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("all", [3, 4, 5, 6]),
        ("first", [3]),
        ("last", [6]),
        ({"step": 3}, [3, 6]),
        ({"first": 1, "last": 4}, [3, 4]),
        ({"first": 4, "step": 2}, [4, 6]),
    ],
)
def test_frame_selection(selection, expected):
    assert select(3, 6, selection) == expected


def test_frames_that_the_motion_does_not_have_are_refused():
    with pytest.raises(PoseFactoryError, match="frames 7 to 9, but the motion has 3 to 6"):
        select(3, 6, {"first": 7, "last": 9})
