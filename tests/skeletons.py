"""Skinned characters with the skeletons of DAZ, Character Creator, MakeHuman and Rigify, as their exports have them.

None of these may be shipped, so their published bone names and conventions are put on the doll of characters.py: bones
in pairs of bend and twist or bend and share, more bones in the spine and neck than there are joints, a hip above a
pelvis, arms in a T or A, units of their own, and bones that point and roll as the program has it rather than along the
limb.
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

Bones = list[tuple[str, str, str | tuple]]  # name, parent, and where it begins: a joint or (joint, joint, share)
HEIGHT = 1.7
FRAMES = 7
SWINGS = {"left_shoulder": ((0, 1, 0), -60.0), "right_hip": ((1, 0, 0), -50.0), "right_knee": ((1, 0, 0), 70.0)}
"""Degrees about world axes that bones are turned by over the motion."""
TWIST = 50.0
"""Degrees that the left forearm turns about itself, meanwhile, in its twist bone where it has one."""


@dataclass(frozen=True)
class Skeleton:
    """rig: its map's name; bones of the middle and the left; skin {joint: bone that its part of the mesh follows};
    arms: degrees below the horizontal at rest; unit: of the file, metres; points: where bones point, None along limbs;
    roll: degrees."""

    rig: str
    bones: Bones
    skin: dict[str, str]
    twist: str
    arms: float = 0.0
    unit: float = 0.01
    points: tuple[float, float, float] | None = None
    roll: float = 0.0

    def bone_at(self, joint: str) -> str:
        """The first bone of the left or the middle that begins at a joint."""
        return next(bone for bone, _, place in self.bones if place == joint)


def right(bone: str) -> str:
    """The name of a bone of the left on the other side; that of one of the middle as it is."""
    sides = r"^l(?=[A-Z_])|(?<=_)L(?=_)|(?<=\.)L(?=$|\.)|(?<=_)l$"
    return re.sub(sides, lambda found: {"l": "r", "L": "R"}[found[0]], bone)


def _fingers(pattern: str, hand: str, names=("Thumb", "Index", "Mid", "Ring", "Pinky")) -> Bones:
    return [
        (pattern.format(f=name, n=n), hand if n == 1 else pattern.format(f=name, n=n - 1), ("hand", place, n))
        for place, name in enumerate(names)
        for n in (1, 2, 3)
    ]


def daz(
    bend: str,
    twists: list[str],
    beside: bool,
    spine: list[str],
    neck: list[str],
    names: dict[str, str],
    fingers: Bones,
    **settings,
) -> Skeleton:
    """A DAZ figure: a hip, a pelvis beside the spine, limbs of a bone that bends and one or two that twist, which come
    after it or hang `beside` what follows."""
    n = names
    upper, fore, thigh = n["upper_arm"], n["forearm"], n["thigh"]
    bones = [("hip", "", "pelvis"), ("pelvis", "hip", "pelvis")]
    bones += [
        (bone, (["hip"] + spine)[i], ("pelvis", "neck", 0.15 + 0.85 * i / len(spine))) for i, bone in enumerate(spine)
    ]
    bones += [(bone, ([spine[-1]] + neck)[i], ("neck", "head", i / len(neck))) for i, bone in enumerate(neck)]
    bones += [("head", neck[-1], "head"), (n["eye"], "head", "left_eye"), (n["ear"], "head", "left_ear")]
    bones += [(n["collar"], spine[-1], ("neck", "left_shoulder", 0.2))]

    def limb(part, above, start, end):
        chain = [part + bend, *(part + name for name in twists)]
        parents = [above] + chain[:1] * len(twists) if beside else [above] + chain
        made = [(bone, parents[i], (start, end, i / len(chain)) if i else start) for i, bone in enumerate(chain)]
        return made, chain[0 if beside else -1]

    arm, last = limb(upper, n["collar"], "left_shoulder", "left_elbow")
    forearm, wrist = limb(fore, last, "left_elbow", "left_wrist")
    leg, knee = limb(thigh, "pelvis", "left_hip", "left_knee")
    bones += arm + forearm + [(n["hand"], wrist, "left_wrist")] + fingers
    bones += leg + [(n["shin"], knee, "left_knee"), (n["foot"], n["shin"], "left_ankle")]
    bones += [
        (n["metatarsals"], n["foot"], ("left_ankle", "left_foot", 0.5)),
        (n["toe"], n["metatarsals"], "left_foot"),
    ]
    skin = {"pelvis": "pelvis", "spine": spine[-1], "neck": neck[0], "head": "head"}
    skin |= {"left_shoulder": last, "left_elbow": wrist, "left_wrist": n["hand"]}
    skin |= {"left_hip": knee, "left_knee": n["shin"], "left_ankle": n["foot"], "left_foot": n["toe"]}
    return Skeleton(bones=bones, skin=skin, twist=wrist, **settings)


GENESIS_8 = {"upper_arm": "lShldr", "forearm": "lForearm", "thigh": "lThigh", "collar": "lCollar", "hand": "lHand"}
GENESIS_8 |= {
    "shin": "lShin",
    "foot": "lFoot",
    "metatarsals": "lMetatarsals",
    "toe": "lToe",
    "eye": "lEye",
    "ear": "lEar",
}
GENESIS_9 = {
    "upper_arm": "l_upperarm",
    "forearm": "l_forearm",
    "thigh": "l_thigh",
    "collar": "l_shoulder",
    "hand": "l_hand",
}
GENESIS_9 |= {
    "shin": "l_shin",
    "foot": "l_foot",
    "metatarsals": "l_metatarsal",
    "toe": "l_toes",
    "eye": "l_eye",
    "ear": "l_ear",
}
OF_GENESIS_8 = {
    "bend": "Bend",
    "twists": ["Twist"],
    "beside": False,
    "spine": ["abdomenLower", "abdomenUpper", "chestLower", "chestUpper"],
    "neck": ["neckLower", "neckUpper"],
    "names": GENESIS_8,
    "rig": "daz_genesis3_8",
}


def character_creator() -> Skeleton:
    """Twist and share bones hang beside the bones that bend, and take a share of the skin."""
    L = "CC_Base_L_"
    bones = [
        ("CC_Base_BoneRoot", "", "floor"),
        ("CC_Base_Hip", "CC_Base_BoneRoot", "pelvis"),
        ("CC_Base_Pelvis", "CC_Base_Hip", "pelvis"),
    ]
    bones += [("CC_Base_Waist", "CC_Base_Hip", ("pelvis", "spine", 0.4)), ("CC_Base_Spine01", "CC_Base_Waist", "spine")]
    bones += [
        ("CC_Base_Spine02", "CC_Base_Spine01", ("spine", "neck", 0.5)),
        ("CC_Base_NeckTwist01", "CC_Base_Spine02", "neck"),
    ]
    bones += [
        ("CC_Base_NeckTwist02", "CC_Base_NeckTwist01", ("neck", "head", 0.5)),
        ("CC_Base_Head", "CC_Base_NeckTwist02", "head"),
    ]
    bones += [("CC_Base_FacialBone", "CC_Base_Head", "head"), (f"{L}Eye", "CC_Base_FacialBone", "left_eye")]
    bones += [(f"{L}Clavicle", "CC_Base_Spine02", ("neck", "left_shoulder", 0.2))]
    for part, above, start, end, extra in (
        ("Upperarm", "Clavicle", "left_shoulder", "left_elbow", ["UpperarmTwist01", "UpperarmTwist02"]),
        ("Forearm", "Upperarm", "left_elbow", "left_wrist", ["ForearmTwist01", "ForearmTwist02", "ElbowShareBone"]),
        ("Thigh", "", "left_hip", "left_knee", ["ThighTwist01", "ThighTwist02"]),
        ("Calf", "Thigh", "left_knee", "left_ankle", ["CalfTwist01", "CalfTwist02", "KneeShareBone"]),
    ):
        bones += [(L + part, L + above if above else "CC_Base_Pelvis", start)]
        bones += [(L + name, L + part, (start, end, i / 3)) for i, name in enumerate(extra)]
    bones += [(f"{L}Hand", f"{L}Forearm", "left_wrist"), *_fingers(L + "{f}{n}", f"{L}Hand")]
    bones += [
        (f"{L}Foot", f"{L}Calf", "left_ankle"),
        (f"{L}ToeBaseShareBone", f"{L}Foot", "left_foot"),
        (f"{L}ToeBase", f"{L}Foot", "left_foot"),
    ]
    skin = {
        "pelvis": "CC_Base_Pelvis",
        "spine": "CC_Base_Spine01",
        "neck": "CC_Base_NeckTwist01",
        "head": "CC_Base_Head",
    }
    skin |= {"left_shoulder": f"{L}UpperarmTwist01", "left_elbow": f"{L}ForearmTwist01", "left_wrist": f"{L}Hand"}
    skin |= {
        "left_hip": f"{L}ThighTwist01",
        "left_knee": f"{L}CalfTwist01",
        "left_ankle": f"{L}Foot",
        "left_foot": f"{L}ToeBase",
    }
    return Skeleton("character_creator", bones, skin, f"{L}Forearm", arms=30.0, points=(0, 0, 1), roll=90.0)


def makehuman() -> Skeleton:
    """A root behind the spine, which is counted from the top; two bones a limb; decimetres."""
    spine = ["spine05", "spine04", "spine03", "spine02", "spine01"]
    bones = [
        ("root", "", "pelvis"),
        *((bone, (["root"] + spine)[i], ("pelvis", "neck", i / 5)) for i, bone in enumerate(spine)),
    ]
    bones += [(f"neck0{i}", f"neck0{i - 1}" if i > 1 else "spine01", ("neck", "head", (i - 1) / 3)) for i in (1, 2, 3)]
    bones += [
        ("head", "neck03", "head"),
        ("eye.L", "head", "left_eye"),
        ("clavicle.L", "spine01", ("neck", "left_shoulder", 0.2)),
    ]
    bones += [
        ("shoulder01.L", "clavicle.L", ("neck", "left_shoulder", 0.6)),
        ("pelvis.L", "root", ("pelvis", "left_hip", 0.5)),
    ]
    above = {"upperarm": "shoulder01.L", "lowerarm": "upperarm02.L", "upperleg": "pelvis.L", "lowerleg": "upperleg02.L"}
    for part, (start, end) in zip(
        above,
        (
            ("left_shoulder", "left_elbow"),
            ("left_elbow", "left_wrist"),
            ("left_hip", "left_knee"),
            ("left_knee", "left_ankle"),
        ),
        strict=True,
    ):
        bones += [(f"{part}01.L", above[part], start), (f"{part}02.L", f"{part}01.L", (start, end, 0.5))]
    bones += [
        ("wrist.L", "lowerarm02.L", "left_wrist"),
        ("foot.L", "lowerleg02.L", "left_ankle"),
        ("toe1-1.L", "foot.L", "left_foot"),
        ("toe2-1.L", "foot.L", "left_foot"),
    ]
    bones += _fingers("finger{f}-{n}.L", "wrist.L", (1, 2, 3, 4, 5))
    skin = {"pelvis": "root", "spine": "spine01", "neck": "neck01", "head": "head", "left_shoulder": "upperarm02.L"}
    skin |= {
        "left_elbow": "lowerarm02.L",
        "left_wrist": "wrist.L",
        "left_hip": "upperleg02.L",
        "left_knee": "lowerleg02.L",
    }
    skin |= {"left_ankle": "foot.L", "left_foot": "toe2-1.L"}
    return Skeleton("makehuman", bones, skin, "lowerarm02.L", arms=45.0, unit=0.1, roll=30.0)


def game_engine() -> Skeleton:
    """MakeHuman's game engine rig."""
    bones = [
        ("Root", "", "floor"),
        ("pelvis", "Root", "pelvis"),
        ("spine_01", "pelvis", ("pelvis", "spine", 0.5)),
        ("spine_02", "spine_01", "spine"),
    ]
    bones += [
        ("spine_03", "spine_02", ("spine", "neck", 0.5)),
        ("neck_01", "spine_03", "neck"),
        ("head", "neck_01", "head"),
    ]
    bones += [
        ("clavicle_l", "spine_03", ("neck", "left_shoulder", 0.2)),
        ("upperarm_l", "clavicle_l", "left_shoulder"),
        ("lowerarm_l", "upperarm_l", "left_elbow"),
    ]
    bones += [
        ("hand_l", "lowerarm_l", "left_wrist"),
        *_fingers("{f}_0{n}_l", "hand_l", ("thumb", "index", "middle", "ring", "pinky")),
    ]
    bones += [
        ("thigh_l", "pelvis", "left_hip"),
        ("calf_l", "thigh_l", "left_knee"),
        ("foot_l", "calf_l", "left_ankle"),
        ("ball_l", "foot_l", "left_foot"),
    ]
    skin = {
        "pelvis": "pelvis",
        "spine": "spine_02",
        "neck": "neck_01",
        "head": "head",
        "left_shoulder": "upperarm_l",
        "left_elbow": "lowerarm_l",
    }
    skin |= {
        "left_wrist": "hand_l",
        "left_hip": "thigh_l",
        "left_knee": "calf_l",
        "left_ankle": "foot_l",
        "left_foot": "ball_l",
    }
    return Skeleton("unreal", bones, skin, "lowerarm_l", arms=45.0, unit=1.0, points=(0, 1, 0))


def rigify() -> Skeleton:
    """The deform bones of a generated rig: limbs split in two, a pelvis of two sides, a spine up into the head."""
    spine = [
        ("DEF-spine", "pelvis"),
        ("DEF-spine.001", ("pelvis", "spine", 0.5)),
        ("DEF-spine.002", "spine"),
        ("DEF-spine.003", ("spine", "neck", 0.5)),
    ]
    spine += [("DEF-spine.004", "neck"), ("DEF-spine.005", ("neck", "head", 0.5)), ("DEF-spine.006", "head")]
    bones = [(bone, spine[i - 1][0] if i else "root", place) for i, (bone, place) in enumerate(spine)]
    bones = [
        ("root", "", "floor"),
        *bones,
        ("DEF-pelvis.L", "DEF-spine", ("pelvis", "left_hip", 0.2)),
        ("DEF-breast.L", "DEF-spine.003", "spine"),
    ]
    bones += [("DEF-shoulder.L", "DEF-spine.003", ("neck", "left_shoulder", 0.2))]
    above = {
        "upper_arm": "DEF-shoulder.L",
        "forearm": "DEF-upper_arm.L.001",
        "thigh": "DEF-spine",
        "shin": "DEF-thigh.L.001",
    }
    for part, (start, end) in zip(
        above,
        (
            ("left_shoulder", "left_elbow"),
            ("left_elbow", "left_wrist"),
            ("left_hip", "left_knee"),
            ("left_knee", "left_ankle"),
        ),
        strict=True,
    ):
        bones += [(f"DEF-{part}.L", above[part], start), (f"DEF-{part}.L.001", f"DEF-{part}.L", (start, end, 0.5))]
    bones += [
        ("DEF-hand.L", "DEF-forearm.L.001", "left_wrist"),
        *_fingers("DEF-{f}.0{n}.L", "DEF-hand.L", ("thumb", "f_index", "f_middle", "f_ring", "f_pinky")),
    ]
    bones += [("DEF-foot.L", "DEF-shin.L.001", "left_ankle"), ("DEF-toe.L", "DEF-foot.L", "left_foot")]
    skin = {
        "pelvis": "DEF-spine",
        "spine": "DEF-spine.003",
        "neck": "DEF-spine.004",
        "head": "DEF-spine.006",
        "left_shoulder": "DEF-upper_arm.L.001",
    }
    skin |= {
        "left_elbow": "DEF-forearm.L.001",
        "left_wrist": "DEF-hand.L",
        "left_hip": "DEF-thigh.L.001",
        "left_knee": "DEF-shin.L.001",
    }
    skin |= {"left_ankle": "DEF-foot.L", "left_foot": "DEF-toe.L"}
    return Skeleton("rigify", bones, skin, "DEF-forearm.L.001", unit=1.0, roll=-60.0)


SKELETONS = {
    "DAZ Genesis 3": daz(**OF_GENESIS_8, fingers=_fingers("l{f}{n}", "lHand"), points=(0, 0, 1)),
    "DAZ Genesis 8": daz(**OF_GENESIS_8, fingers=_fingers("l{f}{n}", "lHand"), arms=45.0, points=(0, -1, 0), roll=45.0),
    "DAZ Genesis 9": daz(
        bend="",
        twists=["twist1", "twist2"],
        beside=True,
        spine=["spine1", "spine2", "spine3", "spine4"],
        neck=["neck1", "neck2"],
        names=GENESIS_9,
        fingers=_fingers("l_{f}{n}", "l_hand", ("thumb", "index", "mid", "ring", "pinky")),
        rig="daz_genesis9",
        arms=40.0,
        points=(1, 0, 0),
    ),
    "Character Creator": character_creator(),
    "MakeHuman": makehuman(),
    "MakeHuman for game engines": game_engine(),
    "Rigify": rigify(),
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
