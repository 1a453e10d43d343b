"""The one pass over a motion that serves every camera."""

import bpy

from pose_factory.blender import evaluate
from pose_factory.geometry.framing import swept_hull


def measure(character: dict) -> dict:
    """What bounds.json holds, from the open, prepared scene and its character.json: the hull of all vertices in all
    frames."""
    meshes = evaluate.character_meshes()
    frames = range(character["first_frame"], character["last_frame"] + 1)
    corners = swept_hull(evaluate.vertices(meshes) for _ in evaluate.each_frame(frames))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {
        "units": "metres, Blender's world",
        "frames": [character["first_frame"], character["last_frame"]],
        "low": low.tolist(),
        "high": high.tolist(),
        "target": ((low + high) / 2).tolist(),
        "hull": corners.tolist(),
        "blender": bpy.app.version_string,
    }
