"""Fitted bodies as animated characters that Blender and other programs open."""

from pathlib import Path

import bpy

from pose_factory.blender import scene
from pose_factory.blender.anny_rig import build_action, build_armature, build_mesh
from pose_factory.bodies.anny_body import Body
from pose_factory.bodies.motion import Motion
from pose_factory.errors import PoseFactoryError


def export(body: Body, motion: Motion, fps: float, name: str, path: Path) -> None:
    """Write `body`, skinned to its armature and moved by an action called `name`, `fps` frames a second, as a binary
    glTF or FBX file, whichever the suffix of `path` (.glb, .fbx) says.

    In Blender's world the body stands as `motion` has it; the file has the axes and units of its format, which
    importers know. The motion starts at time 0. Raises PoseFactoryError if not all of it could be written.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    armature = build_armature(body)
    build_mesh(body, armature)
    build_action(body, motion, armature, name, first=0)
    scene.set_timing(fps, 0, len(motion.root) - 1)
    try:
        if path.suffix == ".glb":
            render = bpy.context.scene.render
            render.fps_base = 1 / render.fps_base  # upside down, as Blender's exporter multiplies by it
            bpy.ops.export_scene.gltf(
                filepath=str(path),
                export_format="GLB",
                export_optimize_animation_size=False,  # it would leave out keys that it takes for superfluous
            )
        else:
            bpy.ops.export_scene.fbx(
                filepath=str(path),
                add_leaf_bones=False,
                bake_anim_use_nla_strips=False,
                bake_anim_use_all_actions=False,
                bake_anim_simplify_factor=0.0,  # it would leave out keys, too
            )
    except RuntimeError as error:  # Blender has told of it in the log
        raise PoseFactoryError(f"Blender could not write all of a {path.suffix} file: is its disk full?") from error
