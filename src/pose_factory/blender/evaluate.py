"""What Blender makes of a character at a frame: its vertices and joints in the world, after rig, shape keys and
modifiers."""

import json
from collections.abc import Iterable, Iterator

import bpy
import numpy as np

from pose_factory.skeleton import JOINTS


def character_meshes() -> list[bpy.types.Object]:
    """The meshes of the scene that are rendered, in the order of their names."""
    return [
        o for o in sorted(bpy.context.scene.objects, key=lambda o: o.name) if o.type == "MESH" and not o.hide_render
    ]


def vertices(objects: Iterable[bpy.types.Object]) -> np.ndarray:
    """(V, 3) world positions, metres, of all vertices of the evaluated `objects` at the current frame."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    return np.concatenate([np.empty((0, 3)), *(_object_vertices(o.evaluated_get(depsgraph)) for o in objects)])


def each_frame(frames: Iterable[int]) -> Iterator[int]:
    """Step the scene through `frames`, yielding each."""
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        yield frame


class JointReader:
    """Reads the canonical joints of the prepared character at the current frame.

    `joints` is `character.json`'s: {joint: {"bone", "end"} or {"mesh", "vertices", "weights"}}; else not annotated.
    """

    def __init__(self, armature: bpy.types.Object, joints: dict[str, dict]) -> None:
        self._armature, self._joints = armature, joints

    def __call__(self) -> np.ndarray:
        """(J, 3) world positions, metres, in the order of skeleton.JOINTS; NaN where not annotated."""
        depsgraph = bpy.context.evaluated_depsgraph_get()
        rig = self._armature.evaluated_get(depsgraph)
        positions = np.full((len(JOINTS), 3), np.nan)
        skins: dict[str, np.ndarray] = {}
        for row, name in zip(positions, JOINTS, strict=True):
            place = self._joints.get(name)
            if place is None:
                continue
            if "bone" in place:
                bone = rig.pose.bones[place["bone"]]
                row[:] = rig.matrix_world @ (bone.head if place["end"] == "head" else bone.tail)
            else:
                mesh = place["mesh"]
                if mesh not in skins:
                    skins[mesh] = _object_vertices(bpy.data.objects[mesh].evaluated_get(depsgraph))
                row[:] = np.array(place["weights"]) @ skins[mesh][place["vertices"]]
        return positions


def landmarks(mesh: bpy.types.Object) -> dict[str, dict]:
    """The joints that `mesh` carries as weighted vertices of its own (custom property `landmarks`), if any."""
    return {joint: {"mesh": mesh.name, **place} for joint, place in json.loads(mesh.get("landmarks", "{}")).items()}


def _object_vertices(evaluated: bpy.types.Object) -> np.ndarray:
    mesh = evaluated.data
    local = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", local)
    world = np.array(evaluated.matrix_world)
    return local.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]
