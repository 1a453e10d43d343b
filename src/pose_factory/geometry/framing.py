"""Where a camera must stand so that a whole motion just fills its image, exactly and without iteration.

A point p at camera-aligned offset (x, y, z) from the target (z towards the camera) is inside the margin when
|x| / (d - z) <= (1 - margin) * tan(fov / 2). So the distance needed is the maximum, over both image axes and all
points, of z + |x| / ((1 - margin) * tan(fov / 2)): a maximum of linear functions, which the points' hull attains.
"""

from collections.abc import Iterable

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry import occlusion
from pose_factory.geometry.camera import PIXEL_CONVENTION, Camera
from pose_factory.variation import OFF

RING_AZIMUTHS = tuple(range(0, 360, 45))
"""The eight azimuths, degrees, whose common distance a ring of cameras shares, whichever of them the config names."""


def swept_hull(motion: Iterable[np.ndarray]) -> np.ndarray:
    """The corners (N, 3) of the convex hull of all that `motion` yields, frame by frame: points (V, 3), metres.

    Raises PoseFactoryError where a point is not finite.
    """
    corners = []
    for points in motion:
        if not np.isfinite(points).all():
            raise PoseFactoryError("The mesh has vertices that are not finite numbers: repair it in Blender.")
        corners.append(_hull(points))
    return _hull(np.concatenate(corners))


def _hull(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull, QhullError  # half of the time of a camera job, which needs no hull

    try:
        return points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # flat, or fewer than four points: all of them are corners
        return points


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector (3,) from the target to a camera at `azimuth` and `elevation` degrees.

    Azimuth 0 is the front (-Y) and grows counter-clockwise seen from above, so 90 is +X: Blender's "right" view.
    """
    azimuth, elevation = np.radians([azimuth, elevation])
    return np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])


def required_distance(
    points: np.ndarray,
    target: np.ndarray,
    azimuth: float,
    elevation: float,
    half_extent: tuple[float, float],
    roll: float = 0.0,
) -> float:
    """Least distance, metres, from `target` (3,) at which a camera sees all `points` (N, 3) within its margins.

    Angles are in degrees; `half_extent` is (1 - margin) * tan(fov / 2) for the horizontal and the vertical image axis.
    """
    view = Camera.look_at(np.asarray(target) + direction(azimuth, elevation), target, 1.0, 2, 2, roll)
    x, y, z = ((np.asarray(points) - target) @ view.R.T).T
    return float(max((-z + np.abs(x) / half_extent[0]).max(), (-z + np.abs(y) / half_extent[1]).max()))


def frame_view(bounds: dict, angle: dict, variation: dict = OFF) -> dict:
    """The camera of one view and what stands before it, as `camera.json` holds it.

    `bounds` is the content of bounds.json (`hull`, `target`), `angle` one camera angle of the config (azimuth and
    elevation in degrees, focal_length and sensor_width in mm, resolution in pixels, margin, framing), `variation` what
    was drawn for the view (`pose_factory.variation.draw`: `camera` and `occluders`). With framing "ring" every camera
    that differs in azimuth only stands at the distance that the worst of RING_AZIMUTHS needs (or further, where an
    azimuth between them would crop); with "each" every camera stands as near as it can. A drawn distance is a multiple
    of that, which all else that is drawn is part of: from 1 on, nobody is cropped.
    """
    change = variation["camera"]
    points, target = np.array(bounds["hull"]), np.array(bounds["target"])
    azimuth, elevation = angle["azimuth"] + change["azimuth"], angle["elevation"] + change["elevation"]
    width, height = angle["resolution"]
    focal_length = angle["focal_length"] * change["focal_length"]
    focal_px = focal_length / angle["sensor_width"] * width
    half_extent = tuple((1 - angle["margin"]) * size / 2 / focal_px for size in (width, height))
    azimuths = {azimuth, *(RING_AZIMUTHS if angle["framing"] == "ring" else ())}
    targets = {around: _aim(points, target, around, elevation, change) for around in sorted(azimuths)}
    distance = change["distance"] * max(
        required_distance(points, aim, around, elevation, half_extent, change["roll"])
        for around, aim in targets.items()
    )
    target = targets[azimuth]
    position = target + distance * direction(azimuth, elevation)
    camera = Camera.look_at(position, target, focal_px, width, height, change["roll"])
    return {
        "width": width,
        "height": height,
        "K": camera.K.tolist(),
        "R": camera.R.tolist(),
        "t": camera.t.tolist(),
        "azimuth": azimuth,
        "elevation": elevation,
        "distance": distance,
        "target": target.tolist(),
        "focal_length_mm": focal_length,
        "sensor_width_mm": angle["sensor_width"],
        "margin": angle["margin"],
        "variation": {
            "camera": change,
            "occluders": occlusion.place(variation["occluders"], points, camera),
        },
        "pixel_convention": PIXEL_CONVENTION,
        "world_convention": "metres, right-handed, Z up, character facing -Y; x_camera = R @ x_world + t",
    }


def _aim(points: np.ndarray, target: np.ndarray, azimuth: float, elevation: float, change: dict) -> np.ndarray:
    """The point (3,) that a camera at `azimuth` looks at: `target`, shifted in its image plane."""
    right, up = change["shift"]
    if not right and not up:
        return target
    size = np.ptp(points, axis=0).max()
    axes = Camera.look_at(target + direction(azimuth, elevation), target, 1.0, 2, 2, change["roll"]).R
    return target + size * (right * axes[0] - up * axes[1])
