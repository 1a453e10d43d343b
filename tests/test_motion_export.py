"""Exported motions: opened in Blender again, they move as they did."""

import resource
from dataclasses import replace

import bpy
import numpy as np
import pytest
from fitted import CAMERA, dancer
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from pose_factory.blender import actions, evaluate, importers
from pose_factory.blender.fitted_character import export
from pose_factory.bodies.anny_body import skin
from pose_factory.bodies.motion import forward_kinematics
from pose_factory.errors import PoseFactoryError
from pose_factory.files import atomic
from pose_factory.motion_export.bvh import bvh
from pose_factory.motion_export.upright import choose, even, rate, stand
from pose_factory.tracking.camera import focal_length

FRAMES, FPS = 36, 24  # fewer, and 30 and 29.97 frames a second are the same
MILLIMETRE = 1e-3


@pytest.fixture(scope="module")
def fitted():
    return dancer(frames=FRAMES, fps=FPS)


@pytest.fixture(scope="module")
def motion(fitted):
    return stand(fitted)


def armature():
    (found,) = (o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    return found


def heads(bones, frames):
    """(F, B, 3) the heads of an armature's bones as Blender has them, world, metres."""
    rig = armature()
    return np.array(
        [[rig.matrix_world @ rig.pose.bones[name].head for name in bones] for _ in evaluate.each_frame(frames)]
    )


@pytest.mark.parametrize("suffix", [".glb", ".fbx"])
@pytest.mark.parametrize("fps", [24, 30000 / 1001])
def test_an_animated_character_is_the_same_in_blender_again(fitted, motion, tmp_path, suffix, fps):
    """But that a .glb has four bones a vertex, which is what most programs take."""
    path = tmp_path / f"motion{suffix}"
    export(fitted.body, motion, fps, "ada", path)
    importers.load(path)
    _, first, last = actions.apply(armature(), None)
    assert first == {".glb": 0, ".fbx": 1}[suffix] and last - first == FRAMES - 1
    assert bpy.context.scene.render.fps / bpy.context.scene.render.fps_base == pytest.approx(fps, rel=1e-4)
    turned, expected = forward_kinematics(fitted.body, motion)
    np.testing.assert_allclose(heads(fitted.body.bones, range(first, last + 1)), expected, atol=MILLIMETRE)
    bpy.context.scene.frame_set(first + 7)
    shown = evaluate.vertices(evaluate.character_meshes())
    skinned = skin(fitted.body, turned[7], expected[7])
    for one, other in ((shown, skinned), (skinned, shown)):
        assert cKDTree(one).query(other)[0].max() < {".glb": 3, ".fbx": 1}[suffix] * MILLIMETRE


@pytest.mark.parametrize("suffix", [".glb", ".fbx"])
def test_a_character_that_cannot_be_written_whole_is_not_kept(fitted, motion, tmp_path, suffix):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(PoseFactoryError, match="could not write all"), atomic(tmp_path / f"m{suffix}") as path:
            export(fitted.body, motion, FPS, "ada", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_blenders_importer_finds_the_same_motion_in_bvh(fitted, motion, tmp_path):
    path = tmp_path / "motion.bvh"
    path.write_text(bvh(fitted.body, *forward_kinematics(fitted.body, motion), 25))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=str(path), update_scene_fps=True)
    assert bpy.context.scene.render.fps == 25
    assert actions.apply(armature(), None)[1:] == (1, FRAMES)
    _, expected = forward_kinematics(fitted.body, motion)
    np.testing.assert_allclose(heads(fitted.body.bones, range(1, FRAMES + 1)), expected, atol=MILLIMETRE)


def test_a_bvh_at_gimbal_lock_keeps_its_directions(fitted, motion, tmp_path):
    """A turn about X by a right angle, at which those about Z and Y are not unique, in BVH's axes and so in ours."""
    body, spine = fitted.body, fitted.body.bone("Spine")
    turn = Rotation.from_euler("X", 90, degrees=True).as_matrix()
    local = Rotation.from_matrix(body.orientations[spine].T @ turn @ body.orientations[spine]).as_quat()[[3, 0, 1, 2]]
    rotations = motion.rotations[:1].copy()
    rotations[0, spine] = local
    locked = replace(motion, rotations=rotations, root=motion.root[:1])
    path = tmp_path / "motion.bvh"
    path.write_text(bvh(body, *forward_kinematics(body, locked), 25))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=str(path))
    np.testing.assert_allclose(heads(body.bones, [1]), forward_kinematics(body, locked)[1], atol=MILLIMETRE)


def test_a_motion_stands_upright_on_the_floor(fitted, motion):
    """The camera looks down at the dancer a little, so that level is not what it was, but all between bones is."""
    turned, expected = forward_kinematics(fitted.body, motion)
    lowest = [skin(fitted.body, *frame)[:, 2].min() for frame in zip(turned, expected, strict=True)]
    assert min(lowest) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(motion.root[0, :2], 0)
    head, hips = (expected[0, fitted.body.bone(name)] for name in ("Head", "Hips"))
    up = (head - hips) / np.linalg.norm(head - hips)
    tilt = np.degrees(np.arccos(CAMERA.R[2] @ [0, 0, 1])) - 90
    assert up[2] > np.cos(np.radians(abs(tilt) + 10))
    shape = np.linalg.norm(expected[:, :, None] - expected[:, None], axis=-1)
    _, seen = fitted.bones()
    np.testing.assert_allclose(shape, np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1), atol=1e-6)


def test_who_faces_the_camera_faces_minus_y(fitted):
    """At rest before a level camera: as near as the focal length of the fit makes it, not the tracker's."""
    level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    still = np.tile(np.eye(3), (2, 52, 1, 1))
    still[:, 0] = level
    root = np.array([[0, 0, 60.0], [0.5, -0.25, 66.0]])
    motion = stand(replace(fitted[:2], rotations=still, translation=root))
    turned, _ = forward_kinematics(fitted.body, motion)
    np.testing.assert_allclose(turned, np.broadcast_to(np.eye(3), turned.shape), atol=1e-9)
    np.testing.assert_allclose(motion.root[1] - motion.root[0], [0.5, 6 * 1.2 * 640 / focal_length(640, 480), 0.25])
    assert motion.root[0, 2] == pytest.approx(fitted.body.heads[0, 2])  # the soles on the floor


def test_missing_frames_are_made_between_those_around_them(fitted):
    there = np.array([0, 1, 2, 6, 7])
    made, missing = even(fitted[there])
    assert missing == [4, 5, 6] and made.frames.tolist() == list(range(1, 9))
    assert made.provenance.tolist() == ["detected"] * 3 + ["interpolated"] * 3 + ["detected"] * 2
    np.testing.assert_allclose(made.rotations[there], fitted.rotations[there], atol=1e-9)
    np.testing.assert_allclose(made.translation[4], (fitted.translation[2] + fitted.translation[6]) / 2)
    for bone in (0, fitted.body.bone("LeftArm")):
        before, middle, after = (Rotation.from_matrix(made.rotations[row, bone]) for row in (2, 4, 6))
        half, whole = (before.inv() * middle).as_rotvec(), (before.inv() * after).as_rotvec()
        np.testing.assert_allclose(2 * half, whole, atol=1e-9)


@pytest.mark.parametrize("step", [1, 4])
def test_whole_motions_and_single_frames_are_left_as_they_are(fitted, step):
    filmed = replace(fitted, frames=1 + step * np.arange(FRAMES))
    assert even(filmed) == (filmed, []) and even(filmed[:1])[1] == []


def test_the_rate_is_that_of_the_frames_that_were_filmed(fitted):
    assert rate(fitted, 30) == 30
    assert rate(replace(fitted, frames=1 + 4 * np.arange(FRAMES)), 30) == 7.5
    assert rate(fitted[:1], 30) == 30


def test_whoever_is_there_longest_is_exported_or_whom_one_names(fitted):
    bodies = {2: fitted[:4], 5: fitted[:9], 6: fitted[:9]}
    assert choose(bodies, None) == 5 and choose(bodies, 2) == 2
    with pytest.raises(PoseFactoryError, match=r"no track 1; ask for one of 2, 5, 6\.$"):
        choose(bodies, 1)
    with pytest.raises(PoseFactoryError, match="found nobody"):
        choose({}, None)
