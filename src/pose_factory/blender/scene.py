"""Opening and saving a prepared character, and standing a camera of ours in its scene."""

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera

BLEND_END = b"\xb1\xea\x92\x8f"
"""How a compressed .blend ends: the magic number of Zstandard's seek table."""


def open_character(path: str | Path) -> None:
    """Open a prepared character's .blend."""
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)


def set_timing(fps: float, first: int, last: int) -> None:
    """Give the open scene this rate, frames a second, and range, both ends included."""
    scene = bpy.context.scene
    scene.render.fps = max(round(fps), 1)
    scene.render.fps_base = scene.render.fps / fps
    scene.frame_start, scene.frame_end = first, last


def save(path: Path) -> None:
    """Save the open scene as a prepared character. Raises PoseFactoryError if not all of it could be written."""
    scene = bpy.context.scene
    scene.unit_settings.system, scene.unit_settings.scale_length = "METRIC", 1.0
    bpy.context.preferences.filepaths.save_version = 0  # no .blend1 beside it
    bpy.ops.wm.save_as_mainfile(filepath=str(path), compress=True, copy=True)
    if not path.read_bytes().endswith(BLEND_END):  # Blender does not notice a full disk
        raise PoseFactoryError(f"Blender could not write all of {path}: is its disk full?")


def add_camera(view: dict) -> bpy.types.Object:
    """Put the camera of `camera.json` into the scene and make it the one that films."""
    camera = Camera.from_json(view)
    data = bpy.data.cameras.new("Camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", view["sensor_width_mm"]
    data.lens = view["focal_length_mm"]
    data.clip_start, data.clip_end = view["distance"] / 1000, view["distance"] * 1000
    o = bpy.data.objects.new("Camera", data)
    scene = bpy.context.scene
    scene.collection.objects.link(o)
    pose = np.eye(4)
    pose[:3, :3] = camera.R.T @ np.diag([1, -1, -1])  # Blender's cameras look along -Z with Y up
    pose[:3, 3] = camera.position
    o.matrix_world = Matrix(pose.tolist())
    scene.camera = o
    scene.render.resolution_x, scene.render.resolution_y = view["width"], view["height"]
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1
    bpy.context.view_layer.update()
    return o


def armature(name: str) -> bpy.types.Object:
    """The prepared character's armature."""
    if name not in bpy.data.objects:
        raise PoseFactoryError(f'The prepared scene has no armature "{name}": delete it and run prepare again.')
    return bpy.data.objects[name]
