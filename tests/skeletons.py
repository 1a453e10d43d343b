"""Skinned characters with the skeletons of DAZ, Character Creator, MakeHuman and Rigify, as their exports have them.

None of these may be shipped, so their published bones are put on the doll of characters.py: bones in pairs of bend and
twist or bend and share, more bones in the spine and neck than there are joints, a hip above a pelvis, deform bones that
hang on mechanism, arms in a T or A, units of their own, and bones that point and roll as the program has it.
docs/rigs.md names the sources; test_rigs.py compares those of MakeHuman and Rigify with the files at hand.

A tree has a line for bones that hang one on the other, indented below what they hang on: `upper > lower : shoulder
elbow [shoulder]` is two bones evenly from the shoulder to the elbow, the last of which moves the part of the doll that
begins at the shoulder. After the two places, the first bone's share of the way may follow. `index*` is three bones.
Only the middle and the left are listed.
"""

import re
from dataclasses import dataclass
from math import radians
from pathlib import Path

import bpy
import characters
import numpy as np
from characters import PARTS, REST
from mathutils import Matrix, Quaternion, Vector

HEIGHT = 1.7
FRAMES = 7
SWINGS = {"left_shoulder": ((0, 1, 0), -60.0), "right_hip": ((1, 0, 0), -50.0), "right_knee": ((1, 0, 0), 70.0)}
"""Degrees about world axes that bones are turned by over the motion."""
TWIST = 50.0
"""Degrees that the left forearm turns about itself, meanwhile, in its twist bone where it has one."""
FINGERS = ("thumb", "index", "middle", "ring", "pinky")

GENESIS_2 = """
hip : pelvis
  pelvis : pelvis [pelvis]
    lThigh : left_hip [left_hip]
      lShin : left_knee [left_knee]
        lFoot : left_ankle [left_ankle]
          lToe : left_foot [left_foot]
  abdomen > abdomen2 > chest : pelvis neck 0.15 [spine]
    lCollar : neck left_shoulder 0.2
      lShldr : left_shoulder [left_shoulder]
        lForeArm : left_elbow [left_elbow]
          lHand : left_wrist [left_wrist]
            lThumb* : thumb
            lCarpal1 : left_wrist
              lIndex* : index
              lMid* : middle
            lCarpal2 : left_wrist
              lRing* : ring
              lPinky* : pinky
    neck : neck [neck]
      head : head [head]
        lEye : left_eye
"""
GENESIS_3_8 = """
hip : pelvis
  pelvis : pelvis [pelvis]
    lThighBend > lThighTwist : left_hip left_knee [left_hip]
      lShin : left_knee [left_knee]
        lFoot : left_ankle [left_ankle]
          lMetatarsals : left_ankle left_foot 0.5
            lToe : left_foot [left_foot]
  abdomenLower > abdomenUpper > chestLower > chestUpper : pelvis neck 0.15 [spine]
    lCollar : neck left_shoulder 0.2
      lShldrBend > lShldrTwist : left_shoulder left_elbow [left_shoulder]
        lForearmBend > lForearmTwist : left_elbow left_wrist [left_elbow]
          lHand : left_wrist [left_wrist]
            lThumb* : thumb
            lCarpal1 > lIndex* : index
            lCarpal2 > lMid* : middle
            lCarpal3 > lRing* : ring
            lCarpal4 > lPinky* : pinky
    neckLower > neckUpper : neck head [neck]
      head : head [head]
        lEye : left_eye
        lEar : left_ear
"""
GENESIS_9 = """
hip : pelvis
  pelvis : pelvis [pelvis]
    l_thigh : left_hip
      l_shin : left_knee [left_knee]
        l_foot : left_ankle [left_ankle]
          l_toes : left_foot [left_foot]
          l_metatarsal : left_ankle left_foot 0.5
      l_thightwist1 : left_hip left_knee 0.3
      l_thightwist2 : left_hip left_knee 0.6 [left_hip]
  spine1 > spine2 > spine3 > spine4 : pelvis neck 0.15 [spine]
    l_shoulder : neck left_shoulder 0.2
      l_upperarm : left_shoulder
        l_forearm : left_elbow
          l_hand : left_wrist [left_wrist]
            l_thumb* : thumb
            l_indexmetacarpal > l_index* : index
            l_midmetacarpal > l_mid* : middle
            l_ringmetacarpal > l_ring* : ring
            l_pinkymetacarpal > l_pinky* : pinky
          l_forearmtwist1 : left_elbow left_wrist 0.3
          l_forearmtwist2 : left_elbow left_wrist 0.6 [left_elbow]
        l_upperarmtwist1 : left_shoulder left_elbow 0.3
        l_upperarmtwist2 : left_shoulder left_elbow 0.6 [left_shoulder]
    neck1 > neck2 : neck head [neck]
      head : head [head]
        l_eye : left_eye
        l_ear : left_ear
"""
CHARACTER_CREATOR = """
RL_BoneRoot : floor
  CC_Base_Hip : pelvis
    CC_Base_Pelvis : pelvis [pelvis]
      CC_Base_L_Thigh : left_hip
        CC_Base_L_Calf : left_knee
          CC_Base_L_Foot : left_ankle [left_ankle]
            CC_Base_L_ToeBase : left_foot [left_foot]
            CC_Base_L_ToeBaseShareBone : left_foot
          CC_Base_L_KneeShareBone : left_knee
          CC_Base_L_CalfTwist01 > CC_Base_L_CalfTwist02 : left_knee left_ankle [left_knee]
        CC_Base_L_ThighTwist01 > CC_Base_L_ThighTwist02 : left_hip left_knee [left_hip]
    CC_Base_Waist : pelvis neck 0.14
      CC_Base_Spine01 : pelvis neck 0.22
        CC_Base_Spine02 : pelvis neck 0.48 [spine]
          CC_Base_NeckTwist01 > CC_Base_NeckTwist02 : neck head [neck]
            CC_Base_Head : head [head]
              CC_Base_FacialBone : head
                CC_Base_L_Eye : left_eye
          CC_Base_L_Clavicle : neck left_shoulder 0.2
            CC_Base_L_Upperarm : left_shoulder
              CC_Base_L_Forearm : left_elbow
                CC_Base_L_Hand : left_wrist [left_wrist]
                  CC_Base_L_Thumb* : thumb
                  CC_Base_L_Index* : index
                  CC_Base_L_Mid* : middle
                  CC_Base_L_Ring* : ring
                  CC_Base_L_Pinky* : pinky
                CC_Base_L_ForearmTwist01 > CC_Base_L_ForearmTwist02 : left_elbow left_wrist [left_elbow]
                CC_Base_L_ElbowShareBone : left_elbow
              CC_Base_L_UpperarmTwist01 > CC_Base_L_UpperarmTwist02 : left_shoulder left_elbow [left_shoulder]
          CC_Base_L_RibsTwist > CC_Base_L_Breast : spine spine
"""
MAKEHUMAN = """
root : pelvis [pelvis]
  pelvis.L : pelvis left_hip
    upperleg01.L > upperleg02.L : left_hip left_knee [left_hip]
      lowerleg01.L > lowerleg02.L : left_knee left_ankle [left_knee]
        foot.L : left_ankle [left_ankle]
          toe1-1.L : left_foot
          toe2-1.L : left_foot [left_foot]
  spine05 > spine04 > spine03 > spine02 > spine01 : pelvis neck [spine]
    clavicle.L > shoulder01.L : neck left_shoulder 0.2
      upperarm01.L > upperarm02.L : left_shoulder left_elbow [left_shoulder]
        lowerarm01.L > lowerarm02.L : left_elbow left_wrist [left_elbow]
          wrist.L : left_wrist [left_wrist]
            finger1-*.L : thumb
            metacarpal1.L > finger2-*.L : index
            metacarpal2.L > finger3-*.L : middle
            metacarpal3.L > finger4-*.L : ring
            metacarpal4.L > finger5-*.L : pinky
    neck01 > neck02 > neck03 : neck head [neck]
      head : head [head]
        special06.L > special05.L : left_eye left_eye
          eye.L : left_eye
"""
GAME_ENGINE = """
Root : floor
  pelvis : pelvis [pelvis]
    thigh_l : left_hip [left_hip]
      calf_l : left_knee [left_knee]
        foot_l : left_ankle [left_ankle]
          ball_l : left_foot [left_foot]
    spine_01 : pelvis neck 0.09
      spine_02 : pelvis neck 0.22
        spine_03 : pelvis neck 0.4 [spine]
          neck_01 : neck [neck]
            head : head [head]
          clavicle_l : neck left_shoulder 0.2
            upperarm_l : left_shoulder [left_shoulder]
              lowerarm_l : left_elbow [left_elbow]
                hand_l : left_wrist [left_wrist]
                  thumb_0*_l : thumb
                  index_0*_l : index
                  middle_0*_l : middle
                  ring_0*_l : ring
                  pinky_0*_l : pinky
"""
RIGIFY = """
root : floor
  DEF-spine : pelvis [pelvis]
    DEF-spine.001 > DEF-spine.002 > DEF-spine.003 : pelvis neck 0.23 [spine]
      DEF-spine.004 > DEF-spine.005 : neck head [neck]
        DEF-spine.006 : head [head]
MCH-torso.parent > torso : pelvis pelvis
  MCH-spine.001 > spine_fk.001 > MCH-spine > spine_fk > tweak_spine > ORG-spine : pelvis pelvis
    ORG-pelvis.L > DEF-pelvis.L : pelvis pelvis
    DEF-thigh.L > DEF-thigh.L.001 : left_hip left_knee [left_hip]
      DEF-shin.L > DEF-shin.L.001 : left_knee left_ankle [left_knee]
        DEF-foot.L : left_ankle [left_ankle]
          DEF-toe.L : left_foot [left_foot]
  MCH-spine.002 > spine_fk.002 > MCH-spine.003 > spine_fk.003 : spine spine
    tweak_spine.003 > ORG-spine.003 : spine spine
      ORG-breast.L > DEF-breast.L : spine spine
      ORG-shoulder.L : neck left_shoulder 0.2
        DEF-shoulder.L : neck left_shoulder 0.2
        DEF-upper_arm.L > DEF-upper_arm.L.001 : left_shoulder left_elbow [left_shoulder]
          DEF-forearm.L > DEF-forearm.L.001 : left_elbow left_wrist [left_elbow]
            DEF-hand.L : left_wrist [left_wrist]
              ORG-palm.01.L > DEF-f_index.0*.L : index
              ORG-palm.02.L > DEF-f_middle.0*.L : middle
              ORG-palm.03.L > DEF-f_ring.0*.L : ring
              ORG-palm.04.L > DEF-f_pinky.0*.L : pinky
    ORG-spine.004 > ORG-spine.005 > ORG-spine.006 > ORG-face : neck head
      ear.L > DEF-ear.L : left_ear left_ear
      master_eye.L : left_eye
"""
MPFB_RIGIFY = """
spine : pelvis [pelvis]
  pelvis.L : pelvis left_hip
  thigh.L : left_hip [left_hip]
    shin.L : left_knee [left_knee]
      foot.L : left_ankle [left_ankle]
        toe.L : left_foot [left_foot]
  spine.001 > spine.002 > spine.003 > spine.004 : pelvis neck 0.15 [spine]
    shoulder.L : neck left_shoulder 0.2
      upper_arm.L : left_shoulder [left_shoulder]
        forearm.L : left_elbow [left_elbow]
          hand.L : left_wrist [left_wrist]
            palm.01.L > f_index.0*.L : index
            palm.02.L > f_middle.0*.L : middle
            palm.03.L > f_ring.0*.L : ring
            palm.04.L > f_pinky.0*.L : pinky
      DEF-shoulder-helper.L : left_shoulder
    spine.005 : neck [neck]
      spine.006 : head [head]
        face : head
          ear.L : left_ear
          eye.L : left_eye
"""


@dataclass(frozen=True)
class Skeleton:
    """rig: its map's name; bones (name, parent, place) of the middle and the left, a place being a joint or (joint,
    joint, share of the way); skin {joint: bone that its part of the mesh follows}; twist: the bone that turns the
    forearm about itself; arms: degrees below the horizontal at rest; unit: of the file, metres; points: where bones
    point, None along limbs; roll: degrees."""

    rig: str
    bones: list[tuple[str, str, str | tuple]]
    skin: dict[str, str]
    twist: str
    arms: float = 0.0
    unit: float = 0.01
    points: tuple[float, float, float] | None = None
    roll: float = 0.0

    def bone_at(self, joint: str) -> str:
        """The first bone of the left or the middle that begins at a joint."""
        return next(bone for bone, _, place in self.bones if place == joint)


def skeleton(rig: str, tree: str, **settings) -> Skeleton:
    bones, skin, above = [], {}, [(-1, "")]
    for line in tree.strip().splitlines():
        indent, chain, places, carries = re.fullmatch(r"( *)(.+) : (.+?)(?: \[(\w+)\])?", line).groups()
        while above[-1][0] >= len(indent):
            above.pop()
        names = [name.replace("*", number) for name in chain.split(" > ") for number in ("123" if "*" in name else "1")]
        for count, name in enumerate(names):
            bones.append((name, names[count - 1] if count else above[-1][1], _parse(places, count, len(names))))
        above.append((len(indent), names[-1]))
        if carries:
            skin[carries] = names[-1]
    return Skeleton(rig, bones, skin, **settings)


def _parse(places: str, count: int, bones: int) -> str | tuple:
    """The place of bone `count` of those on a line."""
    start, *rest = places.split()
    if start in FINGERS:
        return "hand", FINGERS.index(start), count + 4 - bones
    if not rest:
        return start
    first = float(rest[1]) if len(rest) > 1 else 0.0
    share = first + (1 - first) * count / bones
    return (start, rest[0], share) if share and start != rest[0] else start


def right(bone: str) -> str:
    """The name of a bone of the left on the other side; that of one of the middle as it is."""
    sides = r"^l(?=[A-Z_])|(?<=_)L(?=_)|(?<=\.)L(?=$|\.)|(?<=_)l$"
    return re.sub(sides, lambda found: {"l": "r", "L": "R"}[found[0]], bone)


UP = (0, 0, 1)
SKELETONS = {
    "DAZ Genesis 2": skeleton("daz_genesis2", GENESIS_2, twist="lForeArm", points=UP),
    "DAZ Genesis 3": skeleton("daz_genesis3_8", GENESIS_3_8, twist="lForearmTwist", arms=4.0, points=UP),
    "DAZ Genesis 8": skeleton("daz_genesis3_8", GENESIS_3_8, twist="lForearmTwist", arms=48.6, points=UP, roll=45.0),
    "DAZ Genesis 9": skeleton("daz_genesis9", GENESIS_9, twist="l_forearm", arms=47.9, points=(1, 0, 0)),
    "Character Creator": skeleton(
        "character_creator", CHARACTER_CREATOR, twist="CC_Base_L_Forearm", arms=30.0, roll=90.0
    ),
    "MakeHuman": skeleton("makehuman", MAKEHUMAN, twist="lowerarm02.L", arms=50.0, unit=0.1, roll=30.0),
    "MakeHuman for game engines": skeleton(
        "unreal", GAME_ENGINE, twist="lowerarm_l", arms=50.0, unit=1.0, points=(0, 1, 0)
    ),
    "Rigify": skeleton("rigify", RIGIFY, twist="DEF-forearm.L.001", arms=28.0, unit=1.0, roll=-60.0),
    "MPFB's Rigify": skeleton("rigify", MPFB_RIGIFY, twist="forearm.L", arms=50.0, unit=1.0),
}


def write(path: Path, name: str) -> Path:
    """Build the skeleton called `name` in a skin and in motion, and write it as FBX."""
    skeleton = SKELETONS[name]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.frame_start, scene.frame_end = 30, 1, FRAMES
    data = Matrix.Scale(1 / skeleton.unit, 4) @ Matrix.Rotation(radians(-90), 4, "X") @ Matrix.Scale(HEIGHT, 4)
    armature = _armature(skeleton, data)
    skin = skeleton.skin | {joint.replace("left", "right"): right(bone) for joint, bone in skeleton.skin.items()}
    parts = [
        (joint, _lowered(joint, a, skeleton.arms), _lowered(joint, b, skeleton.arms), radii, colour)
        for joint, a, b, radii, colour in PARTS
    ]
    mesh = characters._mesh("Body", parts, skin, data)
    mesh.parent = armature
    mesh.modifiers.new("Armature", "ARMATURE").object = armature
    armature.matrix_world = Matrix.Rotation(radians(90), 4, "X") @ Matrix.Scale(skeleton.unit, 4)
    _animate(armature, skeleton, data)
    characters.write_fbx(path)
    return path


def rest(joint: str, arms: float) -> np.ndarray:
    """(3,) where a joint of the doll is with its arms lowered, of a person 1 high."""
    return np.array(_lowered(joint, REST[joint], arms))


def _lowered(joint: str, place, arms: float) -> Vector:
    """A place that goes with a joint, with arms lowered by `arms` degrees."""
    side, _, part = joint.partition("_")
    if part not in ("shoulder", "elbow", "wrist"):
        return Vector(place)
    shoulder = Vector(REST[f"{side}_shoulder"])
    turn = Matrix.Rotation(radians(arms if side == "left" else -arms), 3, "Y")
    return shoulder + turn @ (Vector(place) - shoulder)


def _place(place, arms: float) -> Vector:
    if place == "floor":
        return Vector((0, 0, 0))
    if isinstance(place, str):
        return _lowered(place, REST[place], arms)
    if place[0] == "hand":
        _, finger, number = place
        at = Vector(REST["left_wrist"]) + Vector((0.02 + 0.02 * number, 0.02 * (finger - 2), 0))
        return _lowered("left_wrist", at, arms)
    start, end, share = place
    return _place(start, arms).lerp(_place(end, arms), share)


def _armature(skeleton: Skeleton, data: Matrix) -> bpy.types.Object:
    armature = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
    bpy.context.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    listed = [(name, parent, _place(place, skeleton.arms)) for name, parent, place in skeleton.bones]
    mirrored = [
        (right(name), right(parent), Vector((-at.x, at.y, at.z))) for name, parent, at in listed if right(name) != name
    ]
    heads = {name: at for name, _, at in listed + mirrored}
    at_head = {name for name, _, place in skeleton.bones if place == "head"}
    for name, parent, at in listed + mirrored:
        bone = bones.new(name)
        ends = [heads[other] - at for other, above, _ in listed + mirrored if above == name]
        last = Vector(REST["head_top"]) - at if name in at_head else Vector((0, -0.05, 0))
        along = next((end for end in ends if end.length > 0.01), last)
        bone.head = data @ at
        bone.tail = data @ (at + (0.05 * Vector(skeleton.points) if skeleton.points else along))
        bone.roll = radians(skeleton.roll)
        if parent:
            bone.parent = bones[parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


def _animate(armature: bpy.types.Object, skeleton: Skeleton, data: Matrix) -> None:
    armature.animation_data_create().action = bpy.data.actions.new("move")
    turns = [
        (
            right(skeleton.bone_at(joint.replace("right", "left"))) if "right" in joint else skeleton.bone_at(joint),
            *swing,
        )
        for joint, swing in SWINGS.items()
    ]
    turns.append((skeleton.twist, tuple(rest("left_wrist", skeleton.arms) - rest("left_elbow", skeleton.arms)), TWIST))
    for frame in range(1, FRAMES + 1):
        share = (frame - 1) / (FRAMES - 1)
        for name, axis, degrees in turns:
            bone = armature.pose.bones[name]
            at_rest = bone.bone.matrix_local.to_quaternion()
            turn = Quaternion(data.to_quaternion() @ Vector(axis), radians(degrees) * share)
            bone.rotation_quaternion = at_rest.inverted() @ turn @ at_rest
            bone.keyframe_insert("rotation_quaternion", frame=frame)
