"""Fitted bodies: against the motions they are made from, anny's own skinning and damaged files."""

import json

import numpy as np
import pytest
from fitted import CAMERA, dancer, shown
from scipy.spatial.transform import Rotation

from pose_factory.bodies import anny_body
from pose_factory.bodies.anny_body import PHENOTYPES, build_body
from pose_factory.bodies.motion import animate, forward_kinematics
from pose_factory.errors import PoseFactoryError
from pose_factory.fitting.fitted import FittedBody, joint_bones, read_bodies, write_bodies
from pose_factory.skeleton import INDEX, JOINTS

PHENOTYPE = np.array([0.2, 0.67, 0.5, 0.6, 0.4, 0.5])


@pytest.fixture(scope="module")
def fitted():
    return dancer(PHENOTYPE, frames=6)


def test_bones_go_where_the_motion_takes_them(fitted):
    body = fitted.body
    dressed = build_body(dict(zip(PHENOTYPES, PHENOTYPE.tolist(), strict=True)))
    rotations, heads = forward_kinematics(body, animate("dance", dressed, 6, 24))
    turned, found = fitted.bones()
    np.testing.assert_allclose(turned, CAMERA.R @ rotations, atol=1e-9)
    np.testing.assert_allclose(found, CAMERA.to_camera(heads), atol=1e-9)


def test_vertices_are_annys_own(fitted):
    """Oracle: anny's forward pass; the root's place is that of its own rest pose, not of ours on the floor."""
    import torch

    pose = torch.eye(4, dtype=torch.float64).repeat(6, 52, 1, 1)
    pose[..., :3, :3] = torch.from_numpy(fitted.rotations)
    pose[:, 0, :3, 3] = torch.from_numpy(fitted.translation)
    phenotype = dict(zip(PHENOTYPES, PHENOTYPE.tolist(), strict=True))
    theirs = anny_body._model()(pose_parameters=pose, phenotype_kwargs=phenotype)["vertices"].detach().numpy()
    np.testing.assert_allclose(fitted.vertices(), theirs, atol=1e-5)
    np.testing.assert_allclose(fitted.vertices(slice(2, 4)), theirs[2:4], atol=1e-5)


def test_joints_are_heads_of_bones_and_places_on_the_skin(fitted):
    assert sorted([*joint_bones(), *fitted.body.landmarks]) == sorted(JOINTS)
    _, heads = fitted.bones()
    joints, vertices = fitted.joints(), fitted.vertices()
    for joint, bone in (
        ("left_knee", "LeftLeg"),
        ("right_wrist", "RightHand"),
        ("spine", "Spine1"),
        ("pelvis", "Hips"),
    ):
        np.testing.assert_array_equal(joints[:, INDEX[joint]], heads[:, fitted.body.bone(bone)])
    for joint, (chosen, weights) in fitted.body.landmarks.items():
        np.testing.assert_allclose(joints[:, INDEX[joint]], weights @ vertices[:, chosen], atol=1e-9)


def test_joints_lie_where_a_rendered_body_is_labelled():
    """Oracle: Blender's evaluation of the same body, as prepared for rendering. Only the top of the head differs: the
    rendered one has hair."""
    blender, ours = shown("dance", frames=3), dancer(frames=3)
    apart = np.linalg.norm(CAMERA.to_camera(blender) - ours.joints(), axis=-1)
    assert apart[:, [INDEX[joint] for joint in JOINTS if joint != "head_top"]].max() < 1e-4
    assert apart[:, INDEX["head_top"]].max() < 0.02


def test_rows_select_frames(fitted):
    some = fitted[np.array([1, 4])]
    assert len(some) == 2 and list(some.frames) == [2, 5]
    np.testing.assert_array_equal(some.joints(), fitted.joints()[[1, 4]])


def test_a_file_holds_all_of_it(fitted, tmp_path):
    path = tmp_path / "body.npz"
    other = FittedBody(
        np.array([7, 9]),
        np.array(["interpolated", "predicted"], dtype=object),
        Rotation.random(2 * 52, random_state=1).as_matrix().reshape(2, 52, 3, 3),
        np.ones((2, 3)),
        np.linspace(0, 1, 6),
    )
    write_bodies(path, {5: other, 2: fitted}, 23.976)
    bodies, fps = read_bodies(path)
    assert fps == 23.976 and list(bodies) == [2, 5]
    for body, expected in ((bodies[2], fitted), (bodies[5], other)):
        assert body.frames.tolist() == expected.frames.tolist()
        assert body.provenance.tolist() == expected.provenance.tolist()
        for name in ("rotations", "translation", "phenotype"):
            np.testing.assert_array_equal(getattr(body, name), getattr(expected, name))
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
    assert about["schema"] == "body/1" and about["bones"] == fitted.body.bones and about["joints"] == JOINTS


def test_the_same_bodies_give_the_same_bytes(fitted, tmp_path):
    for name in ("one", "two"):
        write_bodies(tmp_path / f"{name}.npz", {0: fitted}, 24)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_file_of_nobody(tmp_path):
    write_bodies(tmp_path / "body.npz", {}, 30)
    assert read_bodies(tmp_path / "body.npz") == ({}, 30.0)


def one_sentence(path):
    with pytest.raises(PoseFactoryError) as raised:
        read_bodies(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    return str(raised.value)


def test_bad_files_are_told_in_a_sentence(fitted, tmp_path):
    path = tmp_path / "body.npz"
    assert "not there" in one_sentence(path)
    write_bodies(path, {0: fitted}, 24)
    good = path.read_bytes()
    with np.load(path) as file:
        content = dict(file)

    for damaged in (b"", b"something else", good[: len(good) // 2], good[:2000] + bytes(400) + good[2400:]):
        path.write_bytes(damaged)
        assert "damaged" in one_sentence(path)
    for change in ({"rotations": content["rotations"][:3]}, {"phenotype": content["phenotype"][:0]}):
        np.savez(path, **content | change)
        assert "damaged" in one_sentence(path)
    np.savez(path, **{name: array for name, array in content.items() if name != "translation"})
    assert "damaged" in one_sentence(path)
    np.savez(path, **content | {"provenance": np.array([print], dtype=object)})
    assert "damaged" in one_sentence(path)
    about = json.loads(str(content["about"])) | {"schema": "body/0"}
    np.savez(path, **content | {"about": json.dumps(about)})
    assert "another version" in one_sentence(path)
