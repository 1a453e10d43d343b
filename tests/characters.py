"""Small characters built from nothing, and files of them as users bring them.

`python tests/characters.py OUT_DIR NAME` makes one. A character is a jointed doll in a T-pose, the person's left at +X,
facing -Y, feet on z = 0, its bones named as a rig map says.
`write` makes a file of it through Blender's own exporters; FILES names the ones that tests ask for, sound and broken.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import radians
from pathlib import Path

import bpy
from mathutils import Matrix, Quaternion, Vector

from pose_factory.rigs import rigs

# Joint positions for a person 1 high. "head" is the base of the skull: no canonical joint, but a bone of most rigs.
REST = {
    "pelvis": (0, 0, 0.53),
    "spine": (0, 0, 0.66),
    "neck": (0, 0, 0.83),
    "head": (0, 0, 0.87),
    "head_top": (0, 0, 1),
    "left_eye": (0.018, -0.06, 0.935),
    "left_ear": (0.055, 0, 0.93),
    "left_shoulder": (0.11, 0, 0.81),
    "left_elbow": (0.27, 0.005, 0.81),
    "left_wrist": (0.41, 0, 0.81),
    "left_hip": (0.055, 0, 0.52),
    "left_knee": (0.055, -0.005, 0.28),
    "left_ankle": (0.055, 0.005, 0.05),
    "left_foot": (0.055, -0.075, 0.02),
}
REST |= {name.replace("left", "right"): (-x, y, z) for name, (x, y, z) in REST.items() if name.startswith("left")}

PARENT = {"spine": "pelvis", "neck": "spine", "head": "neck", "head_top": "head"}
for _side in ("left_", "right_"):
    PARENT |= {f"{_side}{joint}": "head" for joint in ("eye", "ear")}
    PARENT |= {f"{_side}shoulder": "neck", f"{_side}elbow": f"{_side}shoulder", f"{_side}wrist": f"{_side}elbow"}
    PARENT |= {f"{_side}hip": "pelvis", f"{_side}knee": f"{_side}hip", f"{_side}ankle": f"{_side}knee"}
    PARENT |= {f"{_side}foot": f"{_side}ankle"}
TAIL = {"pelvis": "spine", "spine": "neck", "neck": "head", "head": "head_top"}  # elsewhere the child's head, if any
TAIL |= {parent: child for child, parent in PARENT.items() if parent.startswith(("left_", "right_"))}

# Capsules of a person 1 high: the joint whose bone moves it, its axis, its two radii across (x, y), a colour.
SKIN, SHIRT, TROUSERS, SHOES = (0.8, 0.55, 0.42), (0.15, 0.35, 0.7), (0.12, 0.12, 0.18), (0.05, 0.04, 0.04)
PARTS = [
    ("head", (0, 0, 0.925), (0, 0, 0.935), (0.058, 0.065), SKIN),
    ("head", (0, -0.06, 0.925), (0, -0.075, 0.92), (0.009, 0.012), SKIN),  # the nose shows the front
    ("neck", (0, 0, 0.80), (0, 0, 0.88), (0.032, 0.032), SKIN),
    ("spine", (0, 0, 0.67), (0, 0, 0.76), (0.11, 0.065), SHIRT),
    ("pelvis", (0, 0, 0.54), (0, 0, 0.62), (0.095, 0.065), TROUSERS),
    ("left_shoulder", REST["left_shoulder"], REST["left_elbow"], (0.035, 0.035), SHIRT),
    ("left_elbow", REST["left_elbow"], REST["left_wrist"], (0.028, 0.028), SKIN),
    ("left_wrist", REST["left_wrist"], (0.48, 0, 0.81), (0.026, 0.015), SKIN),
    ("left_hip", REST["left_hip"], REST["left_knee"], (0.05, 0.05), TROUSERS),
    ("left_knee", REST["left_knee"], REST["left_ankle"], (0.037, 0.037), TROUSERS),
    ("left_ankle", (0.055, 0.01, 0.03), (0.055, -0.075, 0.03), (0.03, 0.03), SHOES),
    ("left_foot", (0.055, -0.08, 0.025), (0.055, -0.11, 0.025), (0.028, 0.025), SHOES),
]
PARTS += [
    (joint.replace("left", "right"), (-a[0], *a[1:]), (-b[0], *b[1:]), radii, colour)
    for joint, a, b, radii, colour in PARTS
    if joint.startswith("left")
]
ARM_RAISE, THIGH_RAISE, KNEE_BEND = radians(70), radians(50), radians(80)
TRAVEL = 0.3  # forward travel over an action, of a person 1 high
IK_GOAL = (0.3, -0.25, 0.95)  # where the left wrist is drawn to, of a person 1 high
ACTIONS = {"move": ("left", "right"), "march": ("right", "left")}  # the arm that rises and the leg that lifts


@dataclass(frozen=True)
class Character:
    """The objects of a built character; `armature` is None and `meshes` is empty where none were asked for."""

    armature: bpy.types.Object | None
    meshes: list[bpy.types.Object]


def build_humanoid(
    bone_map: Mapping[str, str] | str = "mixamo",
    *,
    prefix: str | None = None,
    height: float = 1.7,
    frames: int = 5,
    start: int = 1,
    fps: int = 30,
    actions: Iterable[str] = ("move",),
    empty_action: bool = False,
    turn: float = 0.0,
    lie: bool = False,
    centimetres: bool = False,
    mirrored: bool = False,
    split: bool = False,
    shape_key: bool = False,
    constraint: str | None = None,
    modifier: str | None = None,
    missing_texture: bool = False,
    with_armature: bool = True,
    with_mesh: bool = True,
) -> Character:
    """Build a character in the (empty) current scene.

    `bone_map` is a bone name by joint, or the name of a rig map, whose bones get `prefix` before them (by default
    `mixamorig:` for mixamo). `height` is in metres. The `actions` (names of ACTIONS, the last is the active one) have
    `frames` frames from `start` on, with keys only at their ends and middle: an arm rises, the other leg lifts and its
    knee bends, the body travels forward; the scene's range and rate follow. `turn` (degrees about Z) turns the
    character, `lie` tips it on its back as a wrong up axis does. `centimetres` builds as Mixamo does: data in
    centimetres with Y up, and an armature object scaled 0.01 and turned; `mirrored` as programs with left-handed axes
    do: data mirrored, and an armature object that mirrors it back. `split` puts the head in a mesh of its own;
    `shape_key` adds an animated one that grows the belly; `constraint` is COPY_ROTATION (the right shin copies the
    left) or IK (an animated target draws the left wrist); `modifier` is any mesh modifier type, added behind the
    armature's.
    """
    scene = bpy.context.scene
    scene.render.fps, scene.frame_start, scene.frame_end = fps, start, start + frames - 1
    names = _bone_names(bone_map, prefix)
    root = Matrix.Rotation(radians(turn), 4, "Z") @ Matrix.Rotation(radians(-90 if lie else 0), 4, "X")
    data = Matrix.Scale(height, 4)
    if centimetres:
        root = root @ Matrix.Rotation(radians(90), 4, "X") @ Matrix.Scale(0.01, 4)
        data = Matrix.Scale(100, 4) @ Matrix.Rotation(radians(-90), 4, "X") @ data
    if mirrored:
        mirror = Matrix.Scale(-1, 4, (1, 0, 0))
        root, data = root @ mirror, mirror @ data
    armature = _armature(names, data) if with_armature else None
    meshes = []
    if with_mesh:
        heads = {part[0] == "head" for part in PARTS} if split else {None}
        for head in sorted(heads, key=str):
            parts = [part for part in PARTS if head is None or (part[0] == "head") == head]
            meshes.append(_mesh("Head" if head else "Body", parts, names, data))
        if shape_key:
            _belly(meshes[0], data, frames, start)
        if missing_texture:
            _missing_texture(meshes[0])
    for mesh in meshes:
        if armature:
            mesh.parent = armature
            mesh.modifiers.new("Armature", "ARMATURE").object = armature
        if modifier:
            mesh.modifiers.new(modifier.title(), modifier)
    for object_ in [armature] if armature else meshes:
        object_.matrix_world = root
    if armature:
        if constraint:
            _constrain(armature, names, root @ data, constraint, frames, start)
        for name in actions:
            _action(armature, names, data, name, frames, start)
        if empty_action:
            armature.animation_data_create().action = bpy.data.actions.new("Empty")
    return Character(armature, meshes)


def write(path: str | Path, **variation) -> Path:
    """Build a character with these options of `build_humanoid` in an empty scene and write it as FBX, GLB or .blend."""
    path = Path(path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    build_humanoid(**variation)
    {".fbx": write_fbx, ".glb": write_glb, ".blend": write_blend}[path.suffix](path)
    return path


def write_fbx(path: Path) -> None:
    """Write the scene as FBX. The exporter samples every step-th frame, so a long action stays quick to write."""
    scene = bpy.context.scene
    length = scene.frame_end - scene.frame_start
    bpy.ops.export_scene.fbx(
        filepath=str(path),
        bake_anim=len(bpy.data.actions) > 0,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=_several_actions(),
        bake_anim_step=next(step for step in range(length // 20 or 1, 0, -1) if length % step == 0),
    )


def write_glb(path: Path) -> None:
    """Write the scene as binary glTF, with the keys as they are rather than one per frame."""
    mode = "ACTIONS" if _several_actions() else "ACTIVE_ACTIONS"
    bpy.ops.export_scene.gltf(filepath=str(path), export_force_sampling=False, export_animation_mode=mode)


def write_blend(path: Path) -> None:
    """Save the scene."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)


def truncate(path: Path, share: float = 0.5) -> Path:
    """Keep only the first `share` of a file, as a broken download does."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


UNKNOWN_RIG = {joint: f"Bone_{number:03d}" for number, joint in enumerate(REST)}

FILES = {
    "plain.fbx": {},
    "plain.glb": {},
    "plain.blend": {},
    "with spaces in its name.fbx": {},
    "centimetres.fbx": {"centimetres": True},
    "split.fbx": {"split": True, "centimetres": True},
    "shape_key.fbx": {"shape_key": True},
    "shape_key.glb": {"shape_key": True},
    "shape_key.blend": {"shape_key": True},
    "copy_rotation.blend": {"constraint": "COPY_ROTATION"},
    "ik.blend": {"constraint": "IK"},
    "ik.fbx": {"constraint": "IK"},
    "subsurf.blend": {"modifier": "SUBSURF"},
    "solidify.blend": {"modifier": "SOLIDIFY"},
    "solidify.fbx": {"modifier": "SOLIDIFY"},
    "still.fbx": {"actions": []},
    "still.glb": {"actions": []},
    "still.blend": {"actions": []},
    "several_actions.fbx": {"actions": ["move", "march"]},
    "several_actions.glb": {"actions": ["move", "march"]},
    "several_actions.blend": {"actions": ["move", "march"]},
    "empty_action.blend": {"actions": [], "empty_action": True},
    "missing_texture.blend": {"missing_texture": True},
    "missing_texture.fbx": {"missing_texture": True},
    "no_armature.fbx": {"with_armature": False},
    "no_armature.glb": {"with_armature": False},
    "no_mesh.fbx": {"with_mesh": False},
    "no_mesh.glb": {"with_mesh": False},
    "long.fbx": {"frames": 1000},
    "long.glb": {"frames": 1000},
    "long.blend": {"frames": 1000},
    "facing_x.fbx": {"turn": 90},
    "facing_x.glb": {"turn": 90},
    "lying.fbx": {"lie": True},
    "lying.glb": {"lie": True},
    "unknown_rig.fbx": {"bone_map": UNKNOWN_RIG},
    "fps_24.fbx": {"fps": 24},
    "fps_25.fbx": {"fps": 25},
    "fps_60.fbx": {"fps": 60},
    "fps_60.glb": {"fps": 60},
    "fps_24.blend": {"fps": 24},
    "late_start.fbx": {"start": 10, "frames": 25},
    "late_start.glb": {"start": 10, "frames": 25},
    "late_start.blend": {"start": 10, "frames": 25},
    "giant.fbx": {"height": 170.0},
    "giant.glb": {"height": 170.0},
    "truncated.fbx": {},
    "truncated.glb": {},
    "truncated.blend": {},
    "empty.fbx": None,
    "empty.glb": None,
    "empty.blend": None,
}


def make(folder: str | Path, name: str) -> Path:
    """Make the file of FILES called `name` in `folder`."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    variation = FILES[name]
    if variation is None:
        path.write_bytes(b"")
        return path
    write(path, **variation)
    return truncate(path) if name.startswith("truncated") else path


def _several_actions() -> bool:
    return sum(action.use_fake_user for action in bpy.data.actions) > 1


def _bone_names(bone_map: Mapping[str, str] | str, prefix: str | None) -> dict[str, str]:
    """Bone name by joint of REST; a rig map's bone with the joint at its tail is the head bone."""
    if not isinstance(bone_map, str):
        return dict(bone_map)
    prefix = ("mixamorig:" if bone_map == "mixamo" else "") if prefix is None else prefix
    rig = next(rig for rig in rigs() if rig.name == bone_map)
    names = {}
    for joint, bones in rig.joints.items():
        for bone, end in reversed(bones):
            names["head" if end == "tail" else joint] = prefix + bone
    return names


def _nearest(joint: str, names: Mapping[str, str]) -> str | None:
    """The joint itself if it has a bone, else its closest ancestor that has one."""
    while joint is not None and joint not in names:
        joint = PARENT.get(joint)
    return joint


def _armature(names: Mapping[str, str], data: Matrix) -> bpy.types.Object:
    armature = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
    bpy.context.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = {}
    for joint in (joint for joint in REST if joint in names):
        bones[joint] = bone = armature.data.edit_bones.new(names[joint])
        bone.head = data @ Vector(REST[joint])
        bone.tail = data @ (Vector(REST[TAIL[joint]]) if joint in TAIL else Vector(REST[joint]) + Vector((0, -0.03, 0)))
    for joint, bone in bones.items():
        bone.parent = bones.get(_nearest(PARENT.get(joint), names))
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


def _mesh(name: str, parts: list, names: Mapping[str, str], data: Matrix) -> bpy.types.Object:
    """One mesh of capsules, each moved by one bone, a material per colour."""
    import bmesh  # there is none to be found before bpy is imported

    shape = bmesh.new()
    groups = shape.verts.layers.deform.verify()
    bones, colours = [], []
    for joint, a, b, radii, colour in parts:
        bone = names[_nearest(joint, names)]
        bones += [bone] if bone not in bones else []
        colours += [colour] if colour not in colours else []
        made = bmesh.ops.create_uvsphere(shape, u_segments=12, v_segments=8, radius=1)["verts"]
        _stretch(made, Vector(a), Vector(b), radii)
        for vertex in made:
            vertex[groups][bones.index(bone)] = 1.0
        for face in {face for vertex in made for face in vertex.link_faces}:
            face.material_index, face.smooth = colours.index(colour), True
    bmesh.ops.transform(shape, matrix=data, verts=shape.verts)
    mesh = bpy.data.meshes.new(name)
    shape.to_mesh(mesh)
    shape.free()
    for colour in colours:
        material = bpy.data.materials.new("Colour")
        material.use_nodes = True
        material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
        mesh.materials.append(material)
    object_ = bpy.data.objects.new(name, mesh)
    for bone in bones:
        object_.vertex_groups.new(name=bone)
    bpy.context.collection.objects.link(object_)
    return object_


def _stretch(vertices: list, a: Vector, b: Vector, radii: tuple[float, float]) -> None:
    """Turn a unit sphere into a capsule about the segment from a to b."""
    turn = (b - a).to_track_quat("Z", "Y").to_matrix()
    for vertex in vertices:
        end = b if vertex.co.z > 0 else a
        vertex.co = end + turn @ Vector((vertex.co.x * radii[0], vertex.co.y * radii[1], vertex.co.z * radii[1]))


def _belly(mesh: bpy.types.Object, data: Matrix, frames: int, start: int) -> None:
    mesh.shape_key_add(name="Basis")
    key = mesh.shape_key_add(name="Belly")
    forward = data.to_3x3() @ Vector((0, -0.06, 0))
    back = data.inverted()
    for point, vertex in zip(key.data, mesh.data.vertices, strict=True):
        rest = back @ vertex.co
        if 0.58 < rest.z < 0.78 and abs(rest.x) < 0.1 and rest.y < 0:
            point.co = vertex.co + forward
    for frame, value in ((start, 0.0), (start + frames - 1, 1.0)):
        key.value = value
        key.keyframe_insert("value", frame=frame)


def _missing_texture(mesh: bpy.types.Object) -> None:
    nodes = mesh.data.materials[0].node_tree
    texture = nodes.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.new("skin", 4, 4)
    texture.image.source = "FILE"
    texture.image.filepath = "//textures/skin that is not there.png"
    nodes.links.new(texture.outputs["Color"], nodes.nodes["Principled BSDF"].inputs["Base Color"])


def _constrain(
    armature: bpy.types.Object, names: Mapping[str, str], placed: Matrix, kind: str, frames: int, start: int
) -> None:
    bones = armature.pose.bones
    if kind == "COPY_ROTATION":
        constraint = bones[names["right_knee"]].constraints.new(kind)
        constraint.target, constraint.subtarget = armature, names["left_knee"]
        return
    constraint = bones[names["left_elbow"]].constraints.new(kind)
    constraint.chain_count = 2
    constraint.target = target = bpy.data.objects.new("Target", None)
    bpy.context.collection.objects.link(target)
    for frame, place in ((start, REST["left_wrist"]), (start + frames - 1, IK_GOAL)):
        target.location = placed @ Vector(place)
        target.keyframe_insert("location", frame=frame)


def _action(
    armature: bpy.types.Object, names: Mapping[str, str], data: Matrix, name: str, frames: int, start: int
) -> None:
    """Key an action at its two ends and middle and make it the armature's; the actions before it stay, unused."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    armature.animation_data_create().action = action
    arm, leg = ACTIONS[name]
    turns = {
        f"{arm}_shoulder": ((0, 1, 0), -ARM_RAISE if arm == "left" else ARM_RAISE),
        f"{leg}_hip": ((1, 0, 0), -THIGH_RAISE),
        f"{leg}_knee": ((1, 0, 0), KNEE_BEND),
    }
    for frame, share in ((start, 0.0), (start + (frames - 1) // 2, 0.5), (start + frames - 1, 1.0)):
        for joint, (axis, angle) in turns.items():
            bone = armature.pose.bones[names[joint]]
            rest = bone.bone.matrix_local.to_quaternion()
            turn = Quaternion(data.to_quaternion() @ Vector(axis), angle * share)
            bone.rotation_quaternion = rest.inverted() @ turn @ rest
            bone.keyframe_insert("rotation_quaternion", frame=frame)
        pelvis = armature.pose.bones[names["pelvis"]]
        rest = pelvis.bone.matrix_local.to_quaternion()
        pelvis.location = rest.inverted() @ (data.to_3x3() @ Vector((0, -TRAVEL * share, 0)))
        pelvis.keyframe_insert("location", frame=frame)


if __name__ == "__main__":
    print(make(*sys.argv[1:3]))
