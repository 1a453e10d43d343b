"""Where things stand that hide a part of the body: between a camera and all that the body passes through."""

import numpy as np

from pose_factory.geometry.camera import Camera

STEPS = 12
"""How often an occluder that reaches into the motion is tried a tenth nearer to the camera."""
CLEARANCE = 0.02
"""Metres that stay free between an occluder and the motion."""
_CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)


def place(drawn: list[dict], points: np.ndarray, camera: Camera) -> list[dict]:
    """What `variation.draw` drew as occluders, in the world before `camera`.

    `points` (N, 3), metres, are the corners of the motion's hull. In the picture, an occluder's middle lies at `across`
    (0 left, 1 right) and `up` (0 below, 1 above) of the box around the motion, and its width is `size` of the longer
    side of that box. One that stands reaches from the floor up to there. One that would have to stand within the motion
    or below the floor floats; one for which there is no room before the motion at all is left out.

    Returns [{shape, colour, stands, matrix}]. `matrix` (4, 4) puts the shape into the world: a box, or a cylinder along
    z, or a sphere, 1 m long, wide and high, about the origin.
    """
    pixels, depth = camera.project(points)
    box = np.nanmin(pixels, axis=0), np.nanmax(pixels, axis=0)
    placed = ((occluder, _place(occluder, points, camera, box, float(depth.min()))) for occluder in drawn)
    return [
        {"shape": occluder["shape"], "colour": occluder["colour"], "stands": found[0], "matrix": found[1].tolist()}
        for occluder, found in placed
        if found
    ]


def _place(occluder: dict, points: np.ndarray, camera: Camera, box, nearest: float) -> tuple[bool, np.ndarray] | None:
    """Whether it stands, and its matrix; None where there is no room."""
    low, high = box
    pixel = low + (high - low) * [occluder["across"], 1 - occluder["up"]]
    for stands in (True, False) if occluder["stands"] and occluder["shape"] != "sphere" else (False,):
        for depth in nearest * occluder["depth"] * 0.9 ** np.arange(STEPS):
            middle = camera.unproject(pixel, depth)
            width = occluder["size"] * (high - low).max() * depth / camera.K[0, 0]
            if not stands:
                matrix = _matrix(middle, occluder["turn"], [width] * 3)
            elif middle[2] > width / 4:
                x, y, height = middle
                matrix = _matrix([x, y, height / 2], [0, 0, occluder["turn"][2]], [width, width, height])
            else:
                continue
            if _is_before(matrix, points, camera):
                return stands, matrix
    return None


def _matrix(location, turn, size) -> np.ndarray:
    """(4, 4): scaled by `size` (3,) metres, turned by `turn` (3,) degrees about x, y, z, moved to `location` (3,)."""
    from scipy.spatial.transform import Rotation  # most cameras have nothing before them and need not wait for it

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * size
    matrix[:3, 3] = location
    return matrix


def _is_before(matrix: np.ndarray, points: np.ndarray, camera: Camera) -> bool:
    """Whether a plane across the camera's axis, or an upright one, parts a shape from the motion behind it."""
    corners = _CORNERS @ matrix[:3, :3].T + matrix[:3, 3]
    axis = camera.R[2]
    level = axis * [1, 1, 0]
    planes = [axis, level / np.linalg.norm(level)]
    return any((corners @ plane).max() + CLEARANCE < (points @ plane).min() for plane in planes)
