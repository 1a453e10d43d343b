"""Three ways to find the cameras that frame a motion, on the prepared character of the open scene, and what each costs."""

import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from pose_factory.blender import bounds, evaluate, render, scene
from pose_factory.frames import image, read_image
from pose_factory.geometry.framing import RING_AZIMUTHS, frame_view

ANGLE = {
    "elevation": 5.0,
    "focal_length": 50.0,
    "sensor_width": 36.0,
    "margin": 0.1,
    "resolution": [384, 384],
    "framing": "each",
}
SETTINGS = {"engine": "cycles", "device": "cpu", "samples": 4, "denoise": False, "seed": 0}
DISTANCE_TOLERANCE = 1e-9
"""Metres. The hull's corners are vertices, so only the order of a sum may differ."""
SINGLE_PRECISION = 2e-6
"""Metres. What mathutils, which multiplies in single precision, may differ by for points up to a few metres away."""

Read = Callable[[list[bpy.types.Object]], np.ndarray]


def vertices_in_a_loop(objects: list[bpy.types.Object]) -> np.ndarray:
    """(V, 3) world positions, metres, of the evaluated vertices, one at a time, as most add-ons do it."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    points = []
    for o in objects:
        evaluated = o.evaluated_get(depsgraph)
        matrix = evaluated.matrix_world
        points += [matrix @ vertex.co for vertex in evaluated.data.vertices]
    return np.array(points)


def all_vertices(read: Read, frames: range) -> dict:
    """Bounds, as bounds.json has them, that keep every vertex of every frame."""
    meshes = evaluate.character_meshes()
    points = np.concatenate([read(meshes) for _ in evaluate.each_frame(frames)])
    return {"hull": points, "target": (points.min(axis=0) + points.max(axis=0)) / 2}


def hull(frames: range) -> dict:
    """Bounds as the workflow measures them."""
    return bounds.measure({"first_frame": frames[0], "last_frame": frames[-1]})


def cameras(bounds_of_a_view: Callable[[], dict], azimuths=RING_AZIMUTHS) -> list[dict]:
    """The camera of each azimuth, its bounds measured anew."""
    return [frame_view(bounds_of_a_view(), {**ANGLE, "azimuth": azimuth}) for azimuth in azimuths]


def compare(frames: range, sample: range) -> dict[str, float]:
    """CPU seconds of each way for a ring of eight cameras over `frames`; the loop's are those of `sample`, scaled up.

    Raises AssertionError where a camera depends on the way.
    """
    views = len(RING_AZIMUTHS)
    (by_loop,), loop = _timed(lambda: cameras(lambda: all_vertices(vertices_in_a_loop, sample), [0]))
    by_vertices, vectorised = _timed(lambda: cameras(lambda: all_vertices(evaluate.vertices, frames)))
    measured, once = _timed(lambda: hull(frames))
    by_hull, framing = _timed(lambda: cameras(lambda: measured))
    for one, other in zip(by_vertices, by_hull, strict=True):
        assert_same_distance(one, other, DISTANCE_TOLERANCE)
    assert_same_distance(by_loop, *cameras(lambda: hull(sample), [0]), SINGLE_PRECISION)
    return {
        "loop": loop * views * len(frames) / len(sample),
        "vectorised": vectorised,
        "hull": once + framing,
        "hull_framing": framing,
    }


def assert_same_distance(one: dict, other: dict, tolerance: float) -> None:
    """Two camera.json whose distances from their target differ by less than `tolerance` metres."""
    assert abs(one["distance"] - other["distance"]) < tolerance, (one["distance"], other["distance"])


def differing_pixels(blend: Path, one: dict, other: dict, frame: int, azimuth: float, folder: Path, **settings) -> int:
    """How many pixels of `frame` differ between the cameras that frame the bounds `one` and those that frame `other`."""
    log = folder / "render.log"
    log.touch()
    images = []
    for name, measured in (("one", one), ("other", other)):
        scene.open_character(blend)
        view = frame_view(measured, {**ANGLE, "azimuth": azimuth})
        render.render(view, one, [frame], {**SETTINGS, **settings}, 2, folder / name, log)
        images.append(read_image(image(folder / name, frame)))
    return int((images[0] != images[1]).any(axis=-1).sum())


def _timed(work: Callable) -> tuple:
    started = time.process_time()
    return work(), time.process_time() - started
