"""Bringing a character file into an empty Blender scene, whatever its format."""

import json
import struct
from pathlib import Path

import bpy
import numpy as np

from pose_factory.errors import PoseFactoryError

USUAL_RATES = (24, 25, 30, 48, 50, 60, 120)
"""Frames a second."""
SUFFIXES = (".fbx", ".glb", ".gltf", ".blend")


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
        elif suffix in (".glb", ".gltf"):
            _set_fps(_gltf_fps(path))
            bpy.ops.import_scene.gltf(filepath=str(path), disable_bone_shape=True)  # else it adds a sphere
        elif suffix == ".blend":
            bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=False, use_scripts=False)
        else:
            raise PoseFactoryError(f"{path} is not one of {', '.join(SUFFIXES)}: export the character as one of those.")
    except (RuntimeError, ValueError, KeyError, IndexError, struct.error, UnicodeDecodeError) as error:
        reason = str(error).strip().removeprefix("Error: ").splitlines()
        print(error)
        raise PoseFactoryError(
            f"{path} cannot be read as {suffix} (damaged or cut short?): export or copy it again. "
            f"Blender says: {reason[-1] if reason else type(error).__name__}"
        ) from error


def _set_fps(fps: float) -> None:
    render = bpy.context.scene.render
    render.fps, render.fps_base = (round(fps), 1.0) if abs(fps - round(fps)) < 0.01 else (round(fps * 1000), 1000.0)


def _gltf_fps(path: Path) -> float:
    """The rate of a glTF file's animations, which it has as times in seconds: the lowest usual one whose frames they
    fit."""
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
    return densest or USUAL_RATES[0]
