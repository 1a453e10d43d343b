"""Bringing a character file into an empty Blender scene, whatever its format."""

import json
import struct
from pathlib import Path

import bpy
import numpy as np

from pose_factory.blender import actions
from pose_factory.errors import PoseFactoryError
from pose_factory.frames import USUAL_RATES
from pose_factory.sources import SUFFIXES

FBX_FIRST_FRAME = 1.0
"""Where Blender's FBX importer puts time 0."""


def load(path: Path) -> None:
    """Replace the current scene by the content of `path`, its frame rate included.

    Raises PoseFactoryError when the file is empty, damaged or of an unknown format.
    """
    if path.stat().st_size == 0:
        raise PoseFactoryError(f"{path} is empty (0 bytes): copy or download it again.")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    suffix = path.suffix.lower()
    try:
        if suffix == ".fbx":
            bpy.ops.import_scene.fbx(filepath=str(path))
            _respace_keys()
        elif suffix in (".glb", ".gltf"):
            _import_gltf(path)
        elif suffix == ".blend":
            bpy.ops.wm.open_mainfile(filepath=str(path.absolute()), load_ui=False, use_scripts=False)
        else:
            raise PoseFactoryError(f"{path} is not one of {', '.join(SUFFIXES)}: export the character as one of those.")
    except (RuntimeError, ValueError, KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
        reason = str(error).strip().removeprefix("Error: ").splitlines()
        print(error)
        raise PoseFactoryError(
            f"{path} cannot be read as {suffix} (damaged or cut short?): export or copy it again. "
            f"Blender says: {reason[-1] if reason else type(error).__name__}"
        ) from error


def _respace_keys() -> None:
    """Move the keys of an FBX file at a rate such as 29.97, which Blender's importer puts where they would be at 30."""
    base = bpy.context.scene.render.fps_base
    if base == 1.0:
        return
    for action in bpy.data.actions:
        for curve in actions.fcurves(action):
            for point in curve.keyframe_points:
                point.co_ui.x = FBX_FIRST_FRAME + (point.co_ui.x - FBX_FIRST_FRAME) / base
            curve.update()


def _import_gltf(path: Path) -> None:
    """Import a glTF file at the rate that its keys were made at."""
    fps, render = _gltf_fps(path), bpy.context.scene.render
    render.fps = round(fps)
    render.fps_base = fps / render.fps  # upside down, as Blender's importer multiplies by it
    bpy.ops.import_scene.gltf(filepath=str(path), disable_bone_shape=True)  # else it adds a sphere
    render.fps_base = render.fps / fps


def _gltf_fps(path: Path) -> float:
    """The rate of a glTF file's animations, which it has in seconds: the lowest usual one whose frames they fit."""
    try:
        data = path.read_bytes()
        if data[:4] == b"glTF":
            (length,) = struct.unpack_from("<I", data, 12)
            data = data[20 : 20 + length]
        document = json.loads(data)
    except (struct.error, ValueError) as error:
        raise PoseFactoryError(
            f"{path} cannot be read as glTF (damaged or cut short?): export or copy it again."
        ) from error
    ends, densest = [0.0], 0.0
    for animation in document.get("animations", []):
        for sampler in animation["samplers"]:
            times = document["accessors"][sampler["input"]]
            first, last = times["min"][0], times["max"][0]
            ends += [first, last]
            densest = max(densest, (times["count"] - 1) / (last - first) if last > first else 0.0)
    for fps in USUAL_RATES:
        frames = np.array(ends) * fps
        if fps > densest - 0.05 and np.abs(frames - frames.round()).max() < 0.02:
            return fps
    return next((fps for fps in USUAL_RATES if fps >= densest), densest)
