"""Exact labels of one view: where every joint is, where it falls in the image, and whether the camera sees it."""

import bpy
import numpy as np
import pandas as pd
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from pose_factory.blender import evaluate, scene
from pose_factory.geometry import visibility
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import INDEX, JOINTS

AREA_GRID = 32
"""The silhouette's area is counted on a grid of this many rays a side over the person's box (about 1 % of error)."""
INNER = ~np.isin(JOINTS, [*visibility.FACE, "head_top"])
"""The joints within the body; the others lie on its skin, so on its outline they may fall to either side."""
FLESH_FRAMES, FLESH_DIRECTIONS = 5, 32


def label(character: dict, view: dict, frames: list[int]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Label `frames` of the open, prepared scene as the camera `view` (camera.json) sees them.

    Returns the tables ground_truth and boxes (see docs/tables.md) and the check of the labels against Blender itself:
    the largest distance in pixels between our projection and Blender's, and the fraction of annotated inner joints
    inside the image whose ray meets the body, which is to say that they lie inside its silhouette.
    """
    armature = scene.armature(character["armature"])
    read_joints = evaluate.JointReader(armature, character["joints"])
    meshes = evaluate.character_meshes()
    camera, blender_camera = Camera.from_json(view), scene.add_camera(view)
    rays = _Rays(armature, character["joints"])
    flesh = _measure_flesh(rays, read_joints, frames)
    labels, boxes, drift, on_body, in_image = [], [], 0.0, 0, 0
    for frame in evaluate.each_frame(frames):
        joints = read_joints()
        pixels, depth = camera.project(joints)
        drift = max(drift, _drift_from_blender(blender_camera, camera, joints, pixels))
        gap, surface, met = rays.to_joints(camera.position, joints)
        inside = camera.inside(pixels)
        seen = visibility.visible(gap, surface, flesh)
        state = np.where(inside, np.where(seen, 2, 1), 0)
        in_image += (inside & INNER).sum()
        on_body += (inside & met & INNER).sum()
        time = (frame - character["first_frame"]) / character["fps"]
        labels.append((frame, time, joints, pixels, depth, inside, state))
        box = _box(camera, evaluate.vertices(meshes))
        boxes.append((frame, *box, rays.area(camera, box)))
    check = {
        "frames": len(frames),
        "reprojection_max_px": drift,
        "inside_silhouette": float(on_body / in_image) if in_image else None,
    }
    return _label_table(labels), _box_table(boxes), check


def _drift_from_blender(blender_camera, camera: Camera, joints: np.ndarray, pixels: np.ndarray) -> float:
    known = np.isfinite(pixels).all(axis=1)
    theirs = [world_to_camera_view(bpy.context.scene, blender_camera, Vector(joint)) for joint in joints[known]]
    theirs = np.array([(x * camera.width, (1 - y) * camera.height) for x, y, _ in theirs]).reshape(-1, 2)
    return float(np.abs(theirs - pixels[known]).max(initial=0.0))


class _Rays:
    """Casts rays at the evaluated character."""

    def __init__(self, armature: bpy.types.Object, joints: dict[str, dict]) -> None:
        self._scene = bpy.context.scene
        self._joint_of_bone = _joint_of_bone(armature, joints)
        self._limb: dict[tuple[str, int], int] = {}

    def first_surface(self, origin: np.ndarray, towards: np.ndarray, reach: float) -> tuple | None:
        """(point (3,), index of the joint whose limb it is) of the first surface within `reach` metres, or None."""
        depsgraph = bpy.context.evaluated_depsgraph_get()
        hit, point, _, face, o, _ = self._scene.ray_cast(depsgraph, origin, towards, distance=reach)
        if not hit:
            return None
        return np.array(point), self._limb_of_face(o.evaluated_get(depsgraph), face)

    def to_joints(self, origin: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each joint: gap to the first surface on its ray (J,), whose limb that is (J,), whether there is one
        (J,)."""
        gap, limb, met = np.full(len(joints), np.nan), np.full(len(joints), -1), np.zeros(len(joints), bool)
        for i, joint in enumerate(joints):
            if np.isfinite(joint).all() and (found := self.first_surface(origin, joint - origin, 1e6)):
                met[i] = True
                past = np.dot(found[0] - joint, joint - origin) > 0
                gap[i] = 0.0 if past else np.linalg.norm(found[0] - joint)
                limb[i] = found[1]
        return gap, limb, met

    def area(self, camera: Camera, box: tuple[float, float, float, float]) -> float:
        """Area of the silhouette inside `box`, square pixels."""
        x0, y0, x1, y1 = box
        steps = (np.arange(AREA_GRID) + 0.5) / AREA_GRID
        origin, depsgraph = camera.position, bpy.context.evaluated_depsgraph_get()
        u, v = np.meshgrid(x0 + steps * (x1 - x0), y0 + steps * (y1 - y0))
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
        towards = pixels @ np.linalg.inv(camera.K).T @ camera.R
        hits = sum(self._scene.ray_cast(depsgraph, origin, ray)[0] for ray in towards)
        return float(hits / AREA_GRID**2 * (x1 - x0) * (y1 - y0))

    def _limb_of_face(self, o: bpy.types.Object, face: int) -> int:
        key = (o.name, face)
        if key not in self._limb:
            weights: dict[int, float] = {}
            for index in o.data.polygons[face].vertices:
                for group in o.data.vertices[index].groups:
                    weights[group.group] = weights.get(group.group, 0.0) + group.weight
            names = {index: o.vertex_groups[index].name for index in weights if index < len(o.vertex_groups)}
            bones = {index: weight for index, weight in weights.items() if names.get(index) in self._joint_of_bone}
            # Without weights it may be a rigid part, hung on one bone.
            bone = names[max(bones, key=bones.get)] if bones else o.parent_bone
            self._limb[key] = self._joint_of_bone.get(bone, -1)
        return self._limb[key]


def _joint_of_bone(armature: bpy.types.Object, joints: dict[str, dict]) -> dict[str, int]:
    """For every bone, the canonical joint it hangs on: the one at its own head, or at its nearest ancestor's that has
    one."""
    at_head = {place["bone"]: INDEX[name] for name, place in joints.items() if place.get("end") == "head"}
    nearest = {}
    for bone in armature.data.bones:
        chain = [bone, *bone.parent_recursive]
        found = next((at_head[b.name] for b in chain if b.name in at_head), INDEX["pelvis"])
        nearest[bone.name] = found
    return nearest


def _measure_flesh(rays: _Rays, read_joints: evaluate.JointReader, frames: list[int]) -> np.ndarray:
    directions = visibility.sphere_directions(FLESH_DIRECTIONS)
    sample = sorted({frames[i] for i in np.linspace(0, len(frames) - 1, FLESH_FRAMES).astype(int)})
    gaps = np.full((len(sample), len(JOINTS), len(directions)), np.nan)
    for row, _ in zip(gaps, evaluate.each_frame(sample), strict=True):
        for j, joint in enumerate(read_joints()):
            if np.isnan(joint).any():
                continue
            for k, outwards in enumerate(directions):
                if found := rays.first_surface(joint + outwards, -outwards, 1.0):
                    row[j, k] = np.linalg.norm(found[0] - joint)
    return visibility.flesh_thickness(gaps)


def _box(camera: Camera, vertices: np.ndarray) -> tuple[float, float, float, float]:
    """x_min, y_min, x_max, y_max in pixels of everything in front of the camera, cut at the image's edges."""
    pixels, _ = camera.project(vertices)
    low = np.clip(np.nanmin(pixels, axis=0), 0, [camera.width, camera.height])
    high = np.clip(np.nanmax(pixels, axis=0), 0, [camera.width, camera.height])
    return (*map(float, low), *map(float, high))


def _label_table(labels: list[tuple]) -> pd.DataFrame:
    frame, time, joints, pixels, depth, inside, state = (np.stack(column) for column in zip(*labels, strict=True))
    count = len(JOINTS)
    return pd.DataFrame(
        {
            "frame": np.repeat(frame, count).astype("int32"),
            "time": np.repeat(time, count),
            "joint": JOINTS * len(frame),
            **dict(zip("xyz", joints.reshape(-1, 3).T, strict=True)),
            **dict(zip("uv", pixels.reshape(-1, 2).T, strict=True)),
            "depth": depth.ravel(),
            "inside": inside.ravel(),
            "visibility": state.ravel().astype("int8"),
        }
    )


def _box_table(boxes: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(boxes, columns=["frame", "x_min", "y_min", "x_max", "y_max", "area"])
    return table.astype({"frame": "int32"})
