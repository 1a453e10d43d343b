"""Anny bodies as Blender has them: an armature, a mesh skinned to it, and an action that moves it."""

import bpy
import numpy as np
from mathutils import Matrix

from pose_factory.bodies.anny_body import Body
from pose_factory.bodies.motion import Motion


def build_armature(body: Body) -> bpy.types.Object:
    """An armature "Armature" with the body's bones, in the current scene."""
    armature = bpy.data.objects.new("Armature", bpy.data.armatures.new("Armature"))
    bpy.context.scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    for index, name in enumerate(body.bones):
        bone = bones.new(name)
        bone.head, bone.tail = body.heads[index], body.tails[index]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = body.orientations[index], body.heads[index]
        bone.matrix = Matrix(pose)
        if body.parents[index] >= 0:
            bone.parent = bones[body.bones[body.parents[index]]]
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


def build_mesh(body: Body, armature: bpy.types.Object) -> bpy.types.Object:
    """A mesh "Body", skinned to `armature`."""
    mesh = bpy.data.meshes.new("Body")
    mesh.from_pydata(body.vertices, [], body.faces)
    mesh.shade_smooth()
    skinned = bpy.data.objects.new("Body", mesh)
    bpy.context.scene.collection.objects.link(skinned)
    skinned.parent = armature
    for bone, name in enumerate(body.bones):
        group = skinned.vertex_groups.new(name=name)
        for vertex in np.flatnonzero(body.weights[:, bone]):
            group.add([int(vertex)], body.weights[vertex, bone], "REPLACE")
    skinned.modifiers.new("Armature", "ARMATURE").object = armature
    return skinned


def build_action(body: Body, motion: Motion, armature: bpy.types.Object, name: str, first: int) -> None:
    """Let an action called `name` move `armature`: key every bone's rotation, and the root's location, on N frames from
    `first` on, with straight lines between."""
    action = bpy.data.actions.new(name)
    slot = action.slots.new(id_type="OBJECT", name=armature.name)
    channels = action.layers.new("Layer").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
    animation = armature.animation_data_create()
    animation.action, animation.action_slot = action, slot
    location = (motion.root - body.heads[0]) @ body.orientations[0]
    _keys(channels, f'pose.bones["{body.bones[0]}"].location', location, first)
    for bone, bone_name in enumerate(body.bones):
        armature.pose.bones[bone_name].rotation_mode = "QUATERNION"
        _keys(channels, f'pose.bones["{bone_name}"].rotation_quaternion', motion.rotations[:, bone], first)


def _keys(channels, path: str, values: np.ndarray, first: int) -> None:
    frames = np.arange(first, first + len(values))
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    for component, column in enumerate(values.T):
        curve = channels.fcurves.new(path, index=component)
        curve.keyframe_points.add(len(frames))
        curve.keyframe_points.foreach_set("co", np.stack([frames, column], axis=1).ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), linear))
        curve.update()
