"""Exports of DAZ, Character Creator, MakeHuman and Rigify: imported with their joints where they are, and in motion."""

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from skeletons import FRAMES, HEIGHT, SKELETONS, SWINGS, TWIST, rest, write
from test_bvh import write as bvh_file

from pose_factory.blender import evaluate, importers, motion_files, scene
from pose_factory.blender.limbs import joint_of_bone
from pose_factory.blender.prepare import prepare
from pose_factory.bodies.anny_body import build_body
from pose_factory.bodies.motion import forward_kinematics
from pose_factory.retargeting.recording import LIMBS, SIDES
from pose_factory.retargeting.retarget import retarget
from pose_factory.rigs import REQUIRED, detect
from pose_factory.skeleton import INDEX, JOINTS

TURNS = {joint: Rotation.from_rotvec(np.radians(degrees) * np.array(axis)) for joint, (axis, degrees) in SWINGS.items()}


@pytest.fixture(scope="module", params=SKELETONS)
def exported(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("skeletons") / f"{request.param}.fbx"
    return SKELETONS[request.param], write(path, request.param)


@pytest.fixture(scope="module")
def body():
    return build_body({"age": 0.3})


def along(arms: float, start: str, end: str, *turns: Rotation) -> np.ndarray:
    """(3,) where a limb points at the end of the motion."""
    way = rest(end, arms) - rest(start, arms)
    for turn in reversed(turns):
        way = turn.apply(way)
    return way / np.linalg.norm(way)


def limbs(arms: float) -> dict[str, np.ndarray]:
    raised, lifted = TURNS["left_shoulder"], TURNS["right_hip"]
    return {
        "LeftArm LeftForeArm": along(arms, "left_shoulder", "left_elbow", raised),
        "LeftForeArm LeftHand": along(arms, "left_elbow", "left_wrist", raised),
        "RightArm RightForeArm": along(arms, "right_shoulder", "right_elbow"),
        "RightUpLeg RightLeg": along(arms, "right_hip", "right_knee", lifted),
        "RightLeg RightFoot": along(arms, "right_knee", "right_ankle", lifted, TURNS["right_knee"]),
        "LeftUpLeg LeftLeg": along(arms, "left_hip", "left_knee"),
    }


def joints_at_bones(skeleton) -> set[str]:
    """Eyes, ears and the bases of toes, on both sides, where the skeleton has a bone that begins there; and the top of
    the head where the head's bone is a last one, whose end Blender's FBX has."""
    places = {place for _, _, place in skeleton.bones} & {"left_eye", "left_ear", "left_foot"}
    places |= {"head_top"} if "DEF-spine.006" in skeleton.skin.values() else set()
    return places | {joint.replace("left", "right") for joint in places}


def test_an_export_stands_with_its_joints_where_they_are(exported, tmp_path):
    skeleton, path = exported
    facts = prepare({"file": str(path)}, tmp_path / "character.blend")
    (person,) = facts["people"]
    marked = joints_at_bones(skeleton)
    assert person["rig"] == skeleton.rig and not (marked | set(REQUIRED)) & set(person["not_annotated"])
    assert person["height"] == pytest.approx(HEIGHT, abs=0.02)
    assert not person["warnings"]  # such as having been turned or stood up
    assert facts["last_frame"] - facts["first_frame"] == FRAMES - 1
    scene.open_character(tmp_path / "character.blend")
    read = evaluate.JointReader(scene.armature(person["armature"]), person["joints"])
    first, last = [read() for _ in evaluate.each_frame([facts["first_frame"], facts["last_frame"]])]
    for joint in sorted(marked | set(REQUIRED) - {"pelvis"}):
        expected = HEIGHT * (rest(joint, skeleton.arms) - rest("left_ankle", 0))
        np.testing.assert_allclose(first[INDEX[joint]] - first[INDEX["left_ankle"]], expected, atol=2e-3, err_msg=joint)
    trunk = first[INDEX["neck"]] - first[INDEX["pelvis"]]
    lowest = 0.2 if skeleton.rig == "unreal" else 0.33  # MakeHuman's spine_02 is lower than Unreal's
    assert lowest < (first[INDEX["spine"]] - first[INDEX["pelvis"]]) @ trunk / (trunk @ trunk) < 0.66
    for start, end in (("left_shoulder", "left_elbow"), ("right_knee", "right_ankle")):
        way = last[INDEX[end]] - last[INDEX[start]]
        names = {"left_shoulder": "LeftArm LeftForeArm", "right_knee": "RightLeg RightFoot"}
        np.testing.assert_allclose(way / np.linalg.norm(way), limbs(skeleton.arms)[names[start]], atol=2e-3)
    assert vertices_move_with(skeleton, facts)


def vertices_move_with(skeleton, facts) -> bool:
    """Whether the skin goes where its bones go: the raised hand's highest point is above the head."""
    highest = [
        evaluate.vertices(evaluate.character_meshes())[:, 2].max()
        for _ in evaluate.each_frame([facts["first_frame"], facts["last_frame"]])
    ]
    reach = np.linalg.norm(rest("left_wrist", 0) - rest("left_shoulder", 0))
    top = rest("left_shoulder", 0)[2] + reach * np.sin(np.radians(60 - skeleton.arms))
    return highest[1] - highest[0] > HEIGHT * (top - 1) - 0.02


def test_it_takes_over_the_motion_of_another_file(exported, tmp_path):
    """A limb of its own keeps the directions that the other's has, whatever bones it is made of; `yaw` turns both."""
    _, path = exported
    motion = bvh_file(tmp_path / "a motion.bvh", frames=4, fps=25)
    source = {"file": str(path), "motion": {"file": str(motion)}, "yaw": 120.0}
    facts = prepare(source, tmp_path / "character.blend")
    (person,) = facts["people"]
    assert (facts["fps"], facts["first_frame"], facts["last_frame"]) == (25, 1, 4)
    assert (person["action"], person["motion_file"]) == ("a motion", "a motion.bvh")
    scene.open_character(tmp_path / "character.blend")
    read = evaluate.JointReader(scene.armature(person["armature"]), person["joints"])
    joints = np.array([read() for _ in evaluate.each_frame(range(1, 5))])
    recording = motion_files.read(motion)
    turned = Rotation.from_euler("z", 120, degrees=True).as_matrix().T
    for side in SIDES:
        for start, end in LIMBS.values():
            wanted = recording.places[f"{side}_{end}"] - recording.places[f"{side}_{start}"]
            way = (joints[:, INDEX[f"{side}_{end}"]] - joints[:, INDEX[f"{side}_{start}"]]) @ turned.T
            cosine = np.sum(way * wanted, axis=1) / np.linalg.norm(way, axis=1) / np.linalg.norm(wanted, axis=1)
            assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 2.0, (side, start)
        apart = np.linalg.norm(joints[:, INDEX[f"{side}_hip"]] - joints[:, INDEX["pelvis"]], axis=1)
        assert np.ptp(apart) < 2e-3


def test_what_hangs_on_mechanism_is_of_the_part_that_it_is_on(tmp_path):
    """Of a generated Rigify rig: its face and chest are no children of its spine's deform bones."""
    importers.load(write(tmp_path / "doll.fbx", "Rigify"))
    (armature,) = (o for o in bpy.context.scene.objects if o.type == "ARMATURE")
    match = detect([bone.name for bone in armature.data.bones])
    of_bone = joint_of_bone(
        armature, {joint: {"bone": bone, "end": end} for joint, (bone, end) in match.joints.items()}
    )
    joints = {bone: JOINTS[index] for bone, index in of_bone.items()}
    assert (joints["ORG-face"], joints["DEF-breast.L"], joints["DEF-shoulder.R"]) == ("neck", "spine", "spine")
    assert (joints["DEF-f_index.03.L"], joints["DEF-pelvis.R"], joints["DEF-ear.L"]) == (
        "left_wrist",
        "pelvis",
        "left_ear",
    )


def test_its_motion_moves_a_body(exported, body):
    skeleton, path = exported
    recording = motion_files.read(path)
    rotations, heads = forward_kinematics(body, retarget(recording, body))
    for names, expected in limbs(skeleton.arms).items():
        start, end = (heads[-1, body.bone(name)] for name in names.split())
        way = (end - start) / np.linalg.norm(end - start)
        assert np.degrees(np.arccos(way @ expected)) < 2.0, names
    forearm = rest("left_wrist", skeleton.arms) - rest("left_elbow", skeleton.arms)
    twist = Rotation.from_rotvec(np.radians(TWIST) * forearm / np.linalg.norm(forearm))
    for bone in ("LeftForeArm", "LeftHand"):
        turned = rotations[:, body.bone(bone)]
        off = Rotation.from_matrix(turned[-1] @ turned[0].T) * (TURNS["left_shoulder"] * twist).inv()
        assert np.degrees(off.magnitude()) < 0.5, bone
