"""Three ways to find the cameras that frame the motion of the open scene's prepared character, and what each costs."""

import operator
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
RENDER = {"engine": "cycles", "device": "cpu", "samples": 4, "denoise": False, "seed": 0}
DOUBLE, SINGLE = 1e-9, 1e-5
"""Metres by which two cameras may differ: where all sums are in double precision, and where one is mathutils'."""


def loop_over_vertices(objects: list[bpy.types.Object], to_world: Callable = operator.matmul) -> np.ndarray:
    """(V, 3) world positions, metres, of all evaluated vertices, one at a time as add-ons do: `matrix @ vertex.co`."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    points = []
    for o in objects:
        evaluated = o.evaluated_get(depsgraph)
        matrix = evaluated.matrix_world
        points += [to_world(matrix, vertex.co) for vertex in evaluated.data.vertices]
    return np.array(points)


def in_double(matrix, co) -> list[float]:
    """`matrix @ co` in double precision: mathutils' single moves a camera by 0.1 µm, which a few pixels show."""
    return [row[0] * co[0] + row[1] * co[1] + row[2] * co[2] + row[3] for row in matrix[:3]]


def all_vertices(frames: range, read: Callable = evaluate.vertices) -> dict:
    """Bounds, as bounds.json has them, that keep every vertex of every frame."""
    meshes = evaluate.character_meshes()
    points = np.concatenate([read(meshes) for _ in evaluate.each_frame(frames)])
    return {"hull": points, "target": (points.min(axis=0) + points.max(axis=0)) / 2}


def hull(frames: range) -> dict:
    """Bounds as the workflow measures them."""
    return bounds.measure({"first_frame": frames[0], "last_frame": frames[-1]})


def camera(measured: dict, azimuth: float) -> dict:
    """The camera.json of an azimuth in degrees that frames these bounds."""
    return frame_view(measured, {**ANGLE, "azimuth": azimuth})


def compare(frames: range, sample: range) -> dict[str, float]:
    """CPU seconds that each way takes for the cameras of RING_AZIMUTHS over `frames`, which must come out the same.

    The loop is measured on the frames of `sample` at one azimuth and scaled up. Raises AssertionError where a camera
    depends on the way.
    """
    by_loop, loop = _timed(lambda: camera(all_vertices(sample, loop_over_vertices), 0))
    by_vertices, vectorised = _timed(lambda: [camera(all_vertices(frames), azimuth) for azimuth in RING_AZIMUTHS])
    measured, pass_ = _timed(lambda: hull(frames))
    by_hull, framing = _timed(lambda: [camera(measured, azimuth) for azimuth in RING_AZIMUTHS])
    assert_same(by_loop, camera(hull(sample), 0), SINGLE)
    for one, other in zip(by_vertices, by_hull, strict=True):
        assert_same(one, other, DOUBLE)
    scale = len(RING_AZIMUTHS) * len(frames) / len(sample)
    return {"loop": loop * scale, "vectorised": vectorised, "hull": pass_ + framing, "hull, framing alone": framing}


def assert_same(one: dict, other: dict, tolerance: float) -> None:
    """Two camera.json stand at one place, to `tolerance` metres."""
    positions = [np.array(view["R"]).T @ view["t"] for view in (one, other)]
    assert np.abs(np.subtract(*positions)).max() < tolerance, (one["distance"], other["distance"])


def differing_pixels(blend: Path, sample: range, azimuth: float, folder: Path, settings: dict = RENDER) -> int:
    """How many pixels differ between two images of the middle frame of `sample`: one through the camera that a loop
    over all its vertices finds, one through the camera of its hull. Leaves the images in `folder`.
    """
    scene.open_character(blend)
    by_loop = all_vertices(sample, lambda objects: loop_over_vertices(objects, in_double))
    by_hull = hull(sample)
    frame = sample[len(sample) // 2]
    log = folder / "render.log"
    log.touch()
    images = []
    for name, measured in (("loop", by_loop), ("hull", by_hull)):
        scene.open_character(blend)
        render.render(camera(measured, azimuth), by_hull, [frame], settings, 2, folder / name, log)
        images.append(read_image(image(folder / name, frame)))
    return int((images[0] != images[1]).any(axis=-1).sum())


def _timed(work: Callable) -> tuple:
    started = time.process_time()
    return work(), time.process_time() - started
