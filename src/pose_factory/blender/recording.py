"""Reading the whole motion of a prepared character off Blender, once for all exports."""

from collections.abc import Callable

import bpy
import numpy as np
from mathutils import Matrix

from pose_factory.blender import evaluate, scene
from pose_factory.blender.prepare import ROOT
from pose_factory.export.recording import Recording
from pose_factory.geometry.kinematics import rotations, thin


def record(character: dict) -> list[Recording]:
    """The people of the open, prepared scene, whose character.json this is, in every frame of their motion."""
    frames = range(character["first_frame"], character["last_frame"] + 1)
    bpy.context.scene.frame_set(frames[0])  # what the rest pose is told in
    readers = [_reader(facts) for facts in character["people"]]
    taken = [[read() for read, _ in readers] for _ in evaluate.each_frame(frames)]
    return [
        finish(*(np.array(part) for part in zip(*of_person, strict=True)))
        for (_, finish), of_person in zip(readers, zip(*taken, strict=True), strict=True)
    ]


def _reader(facts: dict) -> tuple[Callable, Callable]:
    """For one of the people: what reads their joints (23, 3) and bones (B, 4, 4) off the current frame, and what makes
    a Recording of these over all frames. The bones are those that joints lie on or that deform: controls are none of
    the body's."""
    armature = scene.armature(facts["armature"])
    read_joints = evaluate.JointReader(armature, facts["joints"])
    bones = list(armature.data.bones)
    index = {bone.name: number for number, bone in enumerate(bones)}
    jointed = {place["bone"] for place in facts["joints"].values() if "bone" in place}
    wanted = np.array([bone.use_deform or bone.name in jointed for bone in bones])
    above = np.array([index[bone.parent.name] if bone.parent else -1 for bone in bones])
    kept, parents = thin(above, wanted, index[facts["joints"]["pelvis"]["bone"]])
    names = [bones[number].name for number in kept]
    upright = _without_way(armature)
    rest = np.array([upright @ bones[number].matrix_local for number in kept])
    tails = np.array([upright @ bones[number].tail_local for number in kept])

    def read() -> tuple[np.ndarray, np.ndarray]:
        rig = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return read_joints(), np.array(rig.matrix_world) @ np.array([rig.pose.bones[name].matrix for name in names])

    def finish(joints: np.ndarray, posed: np.ndarray) -> Recording:
        turns = rotations(posed[..., :3, :3] @ np.linalg.inv(rest[:, :3, :3]))
        return Recording(names, parents, rest[:, :3, 3], tails, turns, posed[..., :3, 3], joints)

    return read, finish


def _without_way(armature: bpy.types.Object) -> Matrix:
    """The armature's matrix in a world in which the person faces -Y: a scene puts one more object above everybody,
    which turns and carries them along their way."""
    top = armature
    while top.parent:
        top = top.parent
    way = Matrix.Identity(4) if top.name == ROOT else top.matrix_world
    return way.inverted() @ armature.matrix_world
