"""The one pass over a motion that serves every camera."""

import bpy

from pose_factory.blender import evaluate
from pose_factory.geometry.framing import SweptHull


def measure(character: dict) -> dict:
    """What bounds.json holds, from the open, prepared scene and its character.json: the hull of all vertices in all frames."""
    meshes = evaluate.character_meshes()
    swept = SweptHull()
    for _ in evaluate.each_frame(range(character["first_frame"], character["last_frame"] + 1)):
        swept.add(evaluate.vertices(meshes))
    low, high = swept.corners.min(axis=0), swept.corners.max(axis=0)
    return {
        "units": "metres, Blender's world",
        "frames": [character["first_frame"], character["last_frame"]],
        "low": low.tolist(),
        "high": high.tolist(),
        "target": ((low + high) / 2).tolist(),
        "hull": swept.corners.tolist(),
        "blender": bpy.app.version_string,
    }
