"""Anny bodies: against anny's own skinning, in numpy and in Blender."""

import json

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose_factory.blender import anny_character
from pose_factory.bodies import anny_body
from pose_factory.bodies.anny_body import PHENOTYPES, bare_body, build_body, skin
from pose_factory.bodies.motion import Motion, animate, forward_kinematics
from pose_factory.errors import PoseFactoryError

ADULT = {"age": 0.67, "gender": 0.2}


@pytest.fixture(scope="session")
def body():
    return build_body(ADULT)


@pytest.fixture(scope="session")
def bare():
    return bare_body(ADULT)


@pytest.fixture
def built():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    anny_character.build({"phenotype": ADULT, "motion": "squat", "frames": 10, "fps": 12.5})
    return bpy.data.objects["Armature"], bpy.data.objects["Body"]


def test_body_stands_on_the_floor_facing_minus_y(body):
    assert body.vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    assert 1.6 < body.vertices[:, 2].max() < 2.0
    assert body.landmark("nose")[1] < body.landmark("left_ear")[1]
    assert body.landmark("left_eye")[0] > 0 > body.landmark("right_eye")[0]
    assert body.heads[body.bone("LeftToeBase"), 1] < body.heads[body.bone("LeftFoot"), 1]


def test_rig_is_a_mixamo_tree_with_proper_axes(body):
    assert len(body.bones) == 52
    assert all(name.startswith("mixamorig:") for name in body.bones)
    assert (body.parents[1:] < np.arange(1, 52)).all()
    np.testing.assert_allclose(body.weights.sum(axis=1), 1)
    axes = body.tails - body.heads
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    np.testing.assert_allclose(body.orientations[:, :, 1], axes, atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(body.orientations), 1)


def test_landmarks_lie_on_the_head(body):
    neck = body.heads[body.bone("Neck")]
    height = body.landmark("head_top")[2] - neck[2]
    for joint, (_, weights) in body.landmarks.items():
        assert weights.sum() == pytest.approx(1)
        assert np.linalg.norm(body.landmark(joint) - neck) < 1.2 * height
    assert body.landmark("head_top")[2] == pytest.approx(body.vertices[:, 2].max())


def test_skinning_agrees_with_annys_own(bare):
    """Oracle: anny's forward pass with the same rotations in world-aligned axes."""
    import torch

    motion = animate("dance", bare, 12, 12)
    rotations, heads = forward_kinematics(bare, motion)
    above = rotations[:, np.maximum(bare.parents, 0)].transpose(0, 1, 3, 2)
    local = above @ rotations
    local[:, 0] = rotations[:, 0]
    pose = torch.eye(4, dtype=torch.float64).repeat(12, 52, 1, 1)
    pose[..., :3, :3] = torch.from_numpy(local)
    pose[:, 0, :3, 3] = torch.from_numpy(heads[:, 0])
    phenotype = {key: ADULT.get(key, 0.5) for key in PHENOTYPES}
    theirs = anny_body._model()(pose_parameters=pose, phenotype_kwargs=phenotype)["vertices"].numpy()
    np.testing.assert_allclose(skin(bare, rotations, heads), theirs, atol=1e-6)


def test_clothes_keep_close_to_the_body(body, bare):
    """Clothes, shoes and hair move a vertex by millimetres, the toes by centimetres, and leave the face alone."""
    moved = np.linalg.norm(body.vertices - bare.vertices, axis=1)
    covered = np.max([body.zones[zone] for zone in ("top", "bottom", "shoes", "hair")], axis=0) > 0
    assert moved[~covered].max() == 0
    assert moved[body.zones["shoes"] < 0].max() < 0.04
    assert moved.max() < 0.12
    np.testing.assert_array_equal(body.faces, bare.faces)


def test_every_zone_is_there_and_clothes_do_not_overlap(body):
    for zone in anny_body.ZONES:
        assert (body.zones[zone] > 0).sum() >= 10, zone
    worn = np.stack([body.zones[zone] > 0 for zone in ("top", "bottom", "shoes", "hair")])
    assert worn.sum(axis=0).max() == 1


@pytest.mark.parametrize(
    ("phenotype", "message"),
    [
        ({"wieght": 0.5}, "did you mean 'weight'.*gender, age"),
        ({"age": 1.5}, "'age' is 1.5"),
        ({"age": "old"}, "'age' is 'old'"),
    ],
)
def test_a_wrong_phenotype_is_refused(phenotype, message):
    with pytest.raises(PoseFactoryError, match=message):
        build_body(phenotype)


def test_blender_skins_as_numpy_does(built, body):
    armature, mesh = built
    motion = animate("squat", body, 10, 12.5)
    rotations, heads = forward_kinematics(body, motion)
    expected = skin(body, rotations, heads)
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end) == (1, 10)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(12.5)
    for frame in (1, 6):
        scene.frame_set(frame)
        evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        vertices = np.empty((len(evaluated.vertices), 3), np.float32)
        evaluated.vertices.foreach_get("co", vertices.ravel())
        np.testing.assert_allclose(vertices, expected[frame - 1], atol=1e-4)
        for bone, name in enumerate(body.bones):
            np.testing.assert_allclose(armature.pose.bones[name].head, heads[frame - 1, bone], atol=1e-4)


def test_the_character_carries_its_landmarks(built, body):
    _, mesh = built
    landmarks = json.loads(mesh["landmarks"])
    assert set(landmarks) == {"nose", "left_eye", "right_eye", "left_ear", "right_ear", "head_top"}
    rest = np.array([vertex.co for vertex in mesh.data.vertices])
    for joint, regressor in landmarks.items():
        found = np.array(regressor["weights"]) @ rest[regressor["vertices"]]
        np.testing.assert_allclose(found, body.landmark(joint), atol=1e-5)


def test_the_character_is_one_armature_and_one_mesh_with_a_key_on_every_frame(built):
    armature, mesh = built
    assert sorted(bpy.data.objects.keys()) == ["Armature", "Body"]
    assert mesh.modifiers["Armature"].object == armature
    (action,) = bpy.data.actions
    assert armature.animation_data.action == action
    curves = action.layers[0].strips[0].channelbags[0].fcurves
    assert len(curves) == 3 + 4 * 52
    assert all([key.co[0] for key in curve.keyframe_points] == list(range(1, 11)) for curve in curves)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"montion": "walk"}, "did you mean 'motion'"),
        ({"look": {"shoe": "#000000"}}, "did you mean 'shoes'"),
        ({"look": {"skin": "red"}}, "#rrggbb"),
    ],
)
def test_a_wrong_description_is_refused(spec, message):
    with pytest.raises(PoseFactoryError, match=message):
        anny_character.build(spec)


def test_forward_kinematics_of_a_turned_root():
    """A body turned a quarter about Z carries every joint with it."""
    body = bare_body(ADULT)
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    local = np.tile(np.eye(3), (1, 52, 1, 1))
    local[0, 0] = body.orientations[0].T @ quarter @ body.orientations[0]
    quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]].reshape(1, 52, 4)
    _, heads = forward_kinematics(body, Motion(quaternions, body.heads[:1], {}))
    np.testing.assert_allclose(heads[0] - body.heads[0], (body.heads - body.heads[0]) @ quarter.T, atol=1e-9)
