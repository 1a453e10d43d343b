"""Exact labels of one view: where every joint is, where it falls in the image, and whether the camera sees it."""

from collections.abc import Iterator
from typing import NamedTuple

import bpy
import numpy as np
import pandas as pd
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

from pose_factory.blender import evaluate, limbs, occluders, scene
from pose_factory.geometry import visibility
from pose_factory.geometry.camera import Camera
from pose_factory.skeleton import JOINTS

AREA_GRID = 32
"""The silhouette's area is counted on a grid of this many rays a side over the person's box (about 1 % of error)."""
INNER = ~np.isin(JOINTS, [*visibility.FACE, "head_top"])
"""The joints within the body; the others lie on its skin, so on its outline they may fall to either side."""
FLESH_FRAMES, FLESH_DIRECTIONS = 5, 32
FAR = 1e6
"""Metres: beyond everything."""
PAST = 1e-4
"""Metres behind a surface at which a ray goes on."""


def label(character: dict, view: dict, frames: list[int]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Label `frames` of the open, prepared scene as the camera `view` (camera.json) sees them.

    Returns the tables ground_truth and boxes (see docs/tables.md) and the check of the labels against Blender itself:
    the largest distance in pixels between our projection and Blender's, and the fraction of annotated inner joints
    inside the image whose ray meets the body, which is to say that they lie inside its silhouette; of several people,
    that of the one with the lowest, whoever stands before them.
    """
    people = [Person(facts) for facts in character["people"]]
    camera, blender_camera = Camera.from_json(view), scene.add_camera(view)
    occluders.add(view["variation"]["occluders"])
    rays = Rays(people)
    flesh = measure_flesh(rays, people, frames)
    labels, boxes, drift = [], [], 0.0
    on_body, in_image = np.zeros(len(people), int), np.zeros(len(people), int)
    for frame in evaluate.each_frame(frames):
        time = (frame - character["first_frame"]) / character["fps"]
        for index, person in enumerate(people):
            joints = person.read_joints()
            pixels, depth = camera.project(joints)
            drift = max(drift, _drift_from_blender(blender_camera, camera, joints, pixels))
            gap, limb, met = rays.to_joints(camera.position, joints, index)
            inside = camera.inside(pixels)
            seen = visibility.visible(gap, limb, flesh[index])
            state = np.where(inside, np.where(seen, 2, 1), 0)
            in_image[index] += (inside & INNER).sum()
            on_body[index] += (inside & met & INNER).sum()
            labels.append((frame, index, time, joints, pixels, depth, inside, state))
            box = box_around(camera, evaluate.vertices(person.meshes))
            boxes.append((frame, index, *box, rays.area(camera, box, index)))
    known = in_image > 0
    check = {
        "frames": len(frames),
        "reprojection_max_px": drift,
        "inside_silhouette": float((on_body[known] / in_image[known]).min()) if known.any() else None,
    }
    return _label_table(labels), _box_table(boxes), check


def _drift_from_blender(blender_camera, camera: Camera, joints: np.ndarray, pixels: np.ndarray) -> float:
    known = np.isfinite(pixels).all(axis=1)
    theirs = [world_to_camera_view(bpy.context.scene, blender_camera, Vector(joint)) for joint in joints[known]]
    theirs = np.array([(x * camera.width, (1 - y) * camera.height) for x, y, _ in theirs]).reshape(-1, 2)
    return float(np.abs(theirs - pixels[known]).max(initial=0.0))


class Person:
    """One of the people of character.json in the open scene."""

    def __init__(self, facts: dict) -> None:
        armature = scene.armature(facts["armature"])
        self.read_joints = evaluate.JointReader(armature, facts["joints"])
        self.meshes = [bpy.data.objects[name] for name in facts["meshes"]]
        self.joint_of_bone = limbs.joint_of_bone(armature, facts["joints"])


class _Surface(NamedTuple):
    """Where a ray met something: the point (3,), whose surface it is (None: nobody's), the mesh and its polygon."""

    point: np.ndarray
    person: int | None
    mesh: bpy.types.Object
    face: int


class Rays:
    """Casts rays at the evaluated people."""

    def __init__(self, people: list[Person]) -> None:
        self._scene = bpy.context.scene
        self._people = people
        self._owner = {mesh.name: index for index, person in enumerate(people) for mesh in person.meshes}
        self._limbs: dict[tuple[str, int], np.ndarray] = {}

    def surfaces(self, origin: np.ndarray, towards: np.ndarray, reach: float) -> Iterator[_Surface]:
        """The surfaces that a ray passes within `reach` metres, the nearest first."""
        depsgraph = bpy.context.evaluated_depsgraph_get()
        while reach > 0:
            hit, point, _, face, mesh, _ = self._scene.ray_cast(depsgraph, origin, towards, distance=reach)
            if not hit:
                return
            point = np.array(point)
            yield _Surface(point, self._owner.get(mesh.name), mesh, face)
            gone = np.linalg.norm(point - origin) + PAST
            origin, reach = origin + gone / np.linalg.norm(towards) * towards, reach - gone

    def own_surface(self, origin: np.ndarray, towards: np.ndarray, reach: float, person: int) -> _Surface | None:
        """The first of `person`'s own surfaces within `reach` metres, whatever is before it."""
        return next((found for found in self.surfaces(origin, towards, reach) if found.person == person), None)

    def to_joints(
        self, origin: np.ndarray, joints: np.ndarray, person: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each joint of `person`: gap to the first surface on its ray (J,), infinite where that is not the person's
        own; whose limb it is (J,); whether the ray meets the person at all (J,)."""
        gap, limb, met = np.full(len(joints), np.nan), np.full(len(joints), -1), np.zeros(len(joints), bool)
        for i, joint in enumerate(joints):
            if not np.isfinite(joint).all():
                continue
            ray = origin, joint - origin, FAR
            if first := next(self.surfaces(*ray), None):
                own = first.person == person
                past = np.dot(first.point - joint, joint - origin) > 0
                gap[i] = 0.0 if past else np.linalg.norm(first.point - joint) if own else np.inf
                limb[i] = self._limb_at(first) if own else -1
                met[i] = own or self.own_surface(*ray, person) is not None
        return gap, limb, met

    def area(self, camera: Camera, box: tuple[float, float, float, float], person: int) -> float:
        """Area of the whole silhouette of `person` inside `box`, square pixels."""
        x0, y0, x1, y1 = box
        steps = (np.arange(AREA_GRID) + 0.5) / AREA_GRID
        u, v = np.meshgrid(x0 + steps * (x1 - x0), y0 + steps * (y1 - y0))
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
        towards = pixels @ np.linalg.inv(camera.K).T @ camera.R
        origin = camera.position
        hits = sum(self.own_surface(origin, ray, FAR, person) is not None for ray in towards)
        return float(hits / AREA_GRID**2 * (x1 - x0) * (y1 - y0))

    def _limb_at(self, surface: _Surface) -> int:
        """The index of the joint whose limb a person's surface is; -1 where it is no limb's."""
        o = surface.mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
        key = (o.name, len(o.data.polygons))
        if key not in self._limbs:
            self._limbs[key] = limbs.of_polygons(o, self._people[surface.person].joint_of_bone)
        return int(self._limbs[key][surface.face])


def measure_flesh(rays: Rays, people: list[Person], frames: list[int]) -> np.ndarray:
    """(P, J) metres of flesh over the joints."""
    directions = visibility.sphere_directions(FLESH_DIRECTIONS)
    sample = sorted({frames[i] for i in np.linspace(0, len(frames) - 1, FLESH_FRAMES).astype(int)})
    gaps = np.full((len(people), len(sample), len(JOINTS), len(directions)), np.nan)
    for f, _ in enumerate(evaluate.each_frame(sample)):
        for p, person in enumerate(people):
            for j, joint in enumerate(person.read_joints()):
                if np.isnan(joint).any():
                    continue
                for k, outwards in enumerate(directions):
                    if found := rays.own_surface(joint + outwards, -outwards, 1.0, p):
                        gaps[p, f, j, k] = np.linalg.norm(found.point - joint)
    return np.stack([visibility.flesh_thickness(of_person) for of_person in gaps])


def box_around(camera: Camera, vertices: np.ndarray) -> tuple[float, float, float, float]:
    """x_min, y_min, x_max, y_max in pixels of everything in front of the camera, cut at the image's edges."""
    pixels, _ = camera.project(vertices)
    low = np.clip(np.nanmin(pixels, axis=0), 0, [camera.width, camera.height])
    high = np.clip(np.nanmax(pixels, axis=0), 0, [camera.width, camera.height])
    return (*map(float, low), *map(float, high))


def _label_table(labels: list[tuple]) -> pd.DataFrame:
    frame, person, time, joints, pixels, depth, inside, state = (
        np.stack(column) for column in zip(*labels, strict=True)
    )
    count = len(JOINTS)
    return pd.DataFrame(
        {
            "frame": np.repeat(frame, count).astype("int32"),
            "person": np.repeat(person, count).astype("int32"),
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
    table = pd.DataFrame(boxes, columns=["frame", "person", "x_min", "y_min", "x_max", "y_max", "area"])
    return table.astype({"frame": "int32", "person": "int32"})
