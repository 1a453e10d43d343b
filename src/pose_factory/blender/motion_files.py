"""The motion of a rigged file, whatever its format, and putting it onto another one."""

import math
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from pose_factory import rigs
from pose_factory.blender import actions, evaluate, importers, limbs, scene
from pose_factory.blender.anny_rig import build_action
from pose_factory.bodies.anny_body import Body
from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.kinematics import rotations
from pose_factory.retargeting import bvh
from pose_factory.retargeting.recording import Recording, record
from pose_factory.retargeting.retarget import retarget


def read(path: Path, action: str | None = None) -> Recording:
    """The motion in a file: that of a .bvh, or of the one armature in another that has bones of a rig that is known; of
    several actions the one called `action`. The open scene is lost.

    Raises PoseFactoryError, with the file's name, where there is no such motion.
    """
    if path.suffix.lower() == ".bvh":
        if action:
            raise PoseFactoryError(
                f'The motion file {path} has no action "{action}": BVH has one motion; remove `action` beside it.'
            )
        return bvh.read(path)
    importers.load(path)
    try:
        armature, match = _find_rig()
        name, first, last = actions.apply(armature, action, of_motion=True)
        if name is None:
            raise PoseFactoryError("it has no animation; export it with one")
        return _record(armature, match, range(first, last + 1))
    except PoseFactoryError as error:
        raise PoseFactoryError(f"The motion file {path}: {str(error).removesuffix('.')}.") from error


def put_on(
    armature: bpy.types.Object, meshes: list[bpy.types.Object], yaw: float, recording: Recording, name: str
) -> None:
    """Let a prepared character (metres, Z up, `yaw` degrees away from facing -Y), which has no animation, move as the
    recording does, by an action called `name` from frame 1 on; set the scene's frame rate and range."""
    _join(armature)
    body = _body(armature, meshes, Matrix.Rotation(-math.radians(yaw), 4, "Z"))
    motion = retarget(recording, body)
    scale = float(np.mean(armature.matrix_world.to_scale()))
    root = body.heads[0] + (motion.root - body.heads[0]) / scale  # keys are in the armature's own unit
    build_action(body, replace(motion, root=root), armature, name, first=1)
    scene.set_timing(recording.fps, 1, len(recording))
    bpy.context.scene.frame_set(1)


def _join(armature: bpy.types.Object) -> None:
    """Parent bones to what they hang on (limbs.above) where that is another bone than their parent."""
    joined = {bone.name: higher.name for bone in armature.data.bones if (higher := limbs.above(bone)) != bone.parent}
    if not joined:
        return
    armature.hide_viewport = False
    armature.hide_set(False)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    for name, higher in joined.items():
        bones[name].use_connect = False
        bones[name].parent = bones[higher]
    bpy.ops.object.mode_set(mode="OBJECT")


def _body(armature: bpy.types.Object, meshes: list[bpy.types.Object], facing: Matrix) -> Body:
    """The armature as a body: the bone that carries hips and legs, and all below it; it stands on z = 0."""
    match = rigs.detect([bone.name for bone in armature.data.bones])
    parts = [bone for part in ("pelvis", "trunk", "left_thigh", "right_thigh") for bone in match.chains.get(part, [])]
    top = armature.data.bones[parts[0]]
    while not all(armature.data.bones[part] in (top, *top.children_recursive) for part in parts):
        if not top.parent:
            raise PoseFactoryError("The legs and the trunk of the character hang on no bone in common: mend its rig.")
        top = top.parent
    bones = [top, *top.children_recursive]
    index = {bone.name: number for number, bone in enumerate(bones)}
    world = np.array([facing @ armature.matrix_world @ bone.matrix_local for bone in bones])
    placed = [(facing @ mesh.matrix_world, mesh) for mesh in meshes]
    vertices = np.array([place @ vertex.co for place, mesh in placed for vertex in mesh.data.vertices])
    weights = np.zeros((len(vertices), len(bones)))
    row = 0
    for mesh in meshes:
        groups = [index.get(group.name) for group in mesh.vertex_groups]
        for vertex in mesh.data.vertices:
            for group in vertex.groups:
                if groups[group.group] is not None:
                    weights[row, groups[group.group]] = group.weight
            row += 1
    floor = np.array([0, 0, vertices[:, 2].min()])
    return Body(
        vertices=vertices - floor,
        faces=np.empty((0, 3), int),
        bones=list(index),
        parents=np.array([index.get(bone.parent.name, -1) if bone.parent else -1 for bone in bones]),
        heads=world[:, :3, 3] - floor,
        tails=np.array([facing @ armature.matrix_world @ bone.tail_local for bone in bones]) - floor,
        orientations=_axes(world),
        weights=weights,
        zones={},
        landmarks={},
    )


def _find_rig() -> tuple[bpy.types.Object, rigs.RigMatch]:
    """The only armature with the bones of a person."""
    found, faults = [], []
    for armature in (o for o in bpy.context.scene.objects if o.type == "ARMATURE"):
        try:
            found.append((armature, rigs.detect([bone.name for bone in armature.data.bones])))
        except PoseFactoryError as error:
            faults.append(error)
    if len(found) > 1:
        names = ", ".join(f'"{armature.name}"' for armature, _ in found)
        raise PoseFactoryError(f"it holds {len(found)} rigged people, {names}; export the one whose motion you want")
    if not found:
        raise faults[0] if faults else PoseFactoryError("it holds no armature, so no motion of a person")
    return found[0]


def _record(armature: bpy.types.Object, match: rigs.RigMatch, frames: range) -> Recording:
    armature.data.pose_position = "POSE"
    for o in bpy.context.scene.objects:
        if o.type == "MESH":
            o.hide_viewport = True  # nobody looks at it, and skinning takes most of the time
    joints = {bone for bone, _ in match.joints.values()}
    bones = sorted(joints.union(*match.chains.values()))
    bpy.context.scene.frame_set(frames[0])
    rest = np.array([armature.matrix_world @ armature.data.bones[name].matrix_local for name in bones])
    posed = np.array(
        [
            [armature.matrix_world @ armature.pose.bones[name].matrix for name in bones]
            for _ in evaluate.each_frame(frames)
        ]
    )
    render = bpy.context.scene.render
    turns = _axes(posed) @ _axes(rest).transpose(0, 2, 1)
    return record(match, render.fps / render.fps_base, bones, rest[:, :3, 3], posed[..., :3, 3], turns)


def _axes(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) the rotations nearest to those of transforms (..., 4, 4), which may scale; what mirrors has a
    negative scale along all axes, as in Blender's `to_scale`."""
    matrices = matrices[..., :3, :3]
    return rotations(matrices * np.where(np.linalg.det(matrices) < 0, -1, 1)[..., None, None])
