"""Whose limb a surface is: the canonical joint that moves it most."""

from collections.abc import Mapping

import bpy
import numpy as np

from pose_factory.skeleton import INDEX, JOINTS

NONE = -1
"""The limb of a surface that no bone of the rig moves."""


def joint_of_bone(armature: bpy.types.Object, joints: Mapping[str, dict]) -> dict[str, int]:
    """For every bone, the index of the canonical joint it hangs on: the one at its own head, or at its nearest
    ancestor's that has one. `joints` is `character.json`'s."""
    at_head = {place["bone"]: INDEX[name] for name, place in joints.items() if place.get("end") == "head"}
    nearest = {}
    for bone in armature.data.bones:
        higher, passed = bone, set()
        while higher and higher.name not in at_head and higher not in passed:
            passed.add(higher)
            higher = above(higher)
        nearest[bone.name] = at_head.get(higher.name if higher else "", INDEX["pelvis"])
    return nearest


def above(bone: bpy.types.Bone) -> bpy.types.Bone | None:
    """What a bone hangs on: its parent. But what hangs on an `ORG-` bone of Rigify's hangs on the deform bone that goes
    with it: limbs and face have another root than the spine, to which only constraints tie them that no export has."""
    deform = bone.id_data.bones.get(bone.name.replace("ORG-", "DEF-"))
    return bone.parent if deform in (None, bone) or bone in deform.parent_recursive else deform


def of_polygons(evaluated: bpy.types.Object, joint_of_bone: Mapping[str, int]) -> np.ndarray:
    """(F,) for each polygon of an `evaluated` mesh object, the index of the joint whose bones weigh most at its
    corners; NONE where no bone of `joint_of_bone` does."""
    mesh = evaluated.data
    joint_of_group = {group.index: joint_of_bone.get(group.name) for group in evaluated.vertex_groups}
    weights = np.zeros((len(mesh.vertices), len(JOINTS)))
    for row, vertex in zip(weights, mesh.vertices, strict=True):
        for group in vertex.groups:
            if (joint := joint_of_group.get(group.group)) is not None:
                row[joint] += group.weight
    starts, corners = np.empty(len(mesh.polygons), np.int32), np.empty(len(mesh.loops), np.int32)
    mesh.polygons.foreach_get("loop_start", starts)
    mesh.loops.foreach_get("vertex_index", corners)
    of_polygon = np.add.reduceat(weights[corners], starts) if len(starts) else np.empty((0, len(JOINTS)))
    rigid = _joint_of_parent(evaluated, joint_of_bone)
    return np.where(of_polygon.any(axis=1), of_polygon.argmax(axis=1), rigid)


def _joint_of_parent(o: bpy.types.Object, joint_of_bone: Mapping[str, int]) -> int:
    """The joint whose bone a rigid part hangs on, however far up."""
    while o is not None:
        if o.parent_type == "BONE" and o.parent_bone in joint_of_bone:
            return joint_of_bone[o.parent_bone]
        o = o.parent
    return NONE
