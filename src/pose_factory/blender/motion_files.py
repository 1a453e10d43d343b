"""The motion of a rigged file, whatever its format."""

from pathlib import Path

import bpy
import numpy as np

from pose_factory import rigs
from pose_factory.blender import actions, evaluate, importers
from pose_factory.errors import PoseFactoryError
from pose_factory.retargeting import bvh
from pose_factory.retargeting.recording import Recording, record


def read(path: Path, action: str | None = None) -> Recording:
    """The motion in a file: that of a .bvh, or of the one armature in another that has bones of a rig that is known; of
    several actions the one called `action`. The open scene is lost.

    Raises PoseFactoryError, with the file's name, where there is no such motion.
    """
    if path.suffix.lower() == ".bvh":
        if action:
            raise PoseFactoryError(
                f'The motion file {path} has no action "{action}": BVH has one motion; remove `action`.'
            )
        return bvh.read(path)
    importers.load(path)
    try:
        armature, match = _find_rig()
        name, first, last = actions.apply(armature, action)
        if name is None:
            raise PoseFactoryError("it has no animation; export it with one")
        return _record(armature, match, range(first, last + 1))
    except PoseFactoryError as error:
        raise PoseFactoryError(f"The motion file {path}: {str(error).removesuffix('.')}.") from error


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
    """(..., 3, 3) the rotations nearest to those of transforms (..., 4, 4), which may scale."""
    left, _, right = np.linalg.svd(matrices[..., :3, :3])
    return left @ right
