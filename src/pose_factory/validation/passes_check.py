"""Whether the label passes of one view agree with each other, with the labels of its joints, and from frame to frame.

Pixels to look at are `rows` and `columns` (N,). Depths (H, W) are metres, z in camera axes, 0 where nothing is, and
instances (H, W) as in `pose_factory.passes`.
"""

from collections.abc import Mapping

import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry import visibility
from pose_factory.geometry.camera import Camera
from pose_factory.passes import OCCLUDER

SAMPLES = 256
"""Pixels that are looked at in a frame."""
BENT = 0.5
"""In widths of a pixel: how far the depth may bend from one pixel to the next for a normal to be told from it."""
SAME_DEPTH = 0.01
"""Metres between two depths of one surface, seen through two pixels that touch."""
AROUND = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
MIDDLE = AROUND.index((0, 0))


def sample(mask: np.ndarray, count: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of `count` pixels of `mask` (H, W), or of all if there are fewer, evenly spread over it."""
    rows, columns = np.nonzero(mask)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    return rows[chosen], columns[chosen]


def centres(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N, 2) where in the image the centres of these pixels are."""
    return np.stack([columns, rows], axis=-1) + 0.5


def normals_of_depth(depth, instances, camera: Camera, rows, columns) -> np.ndarray:
    """(N, 3) unit normals in camera axes, towards the camera, of the surface through a pixel's four neighbours; NaN
    where these are not of one smooth surface."""
    height, width = depth.shape
    inner = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    rows, columns = np.clip(rows, 1, height - 2), np.clip(columns, 1, width - 2)
    around = [(rows, columns + 1), (rows, columns - 1), (rows + 1, columns), (rows - 1, columns)]
    z, here = np.array([depth[pixel] for pixel in around]), depth[rows, columns]
    same = (np.array([instances[pixel] for pixel in around]) == instances[rows, columns]).all(axis=0)
    limit = BENT * here / camera.K[0, 0]
    flat = (np.abs(z[0] + z[1] - 2 * here) < limit) & (np.abs(z[2] + z[3] - 2 * here) < limit)
    right, left, below, above = (
        camera.to_camera(camera.unproject(centres(*pixel), of_pixel)) for pixel, of_pixel in zip(around, z, strict=True)
    )
    normals = np.cross(below - above, right - left)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    known = inner & same & flat & (length[:, 0] > 0)
    return np.where(known[:, None], normals / np.where(length > 0, length, 1.0), np.nan)


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N,) degrees between vectors (N, 3); NaN stays."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.degrees(np.arccos(np.clip((one * other).sum(axis=1) / lengths, -1, 1)))


def compare_box(silhouette: np.ndarray, projected, box) -> tuple[float, float]:
    """How far `box` (x_min, y_min, x_max, y_max) is off at most, pixels: how far a `silhouette` (H, W) leaves it, or
    its sides are from those of `projected`, the box around the projected mesh; and the intersection over union of `box`
    and the one around the silhouette, NaN if there is none. A silhouette may be smaller than its box without a fault:
    what is thinner than a pixel is met by no pixel's centre."""
    rows, columns = np.flatnonzero(silhouette.any(axis=1)), np.flatnonzero(silhouette.any(axis=0))
    off = np.abs(np.subtract(projected, box)).max()
    if not len(rows):
        return float(off), np.nan
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    outside = ((box - found) * [1, 1, -1, -1]).max()
    common = np.clip(np.minimum(found, box)[2:] - np.maximum(found, box)[:2], 0, None).prod()
    areas = (found[2:] - found[:2]).prod() + (box[2:] - box[:2]).prod()
    return float(max(off, outside)), float(common / (areas - common))


def joint_visibility(depth, instances, limbs, camera: Camera, joints, person: int, flesh) -> np.ndarray:
    """(9, J) which joints of a `person` are seen, told from the pixel that each falls into (row MIDDLE) and from each
    of its eight neighbours, by the rule of the ground truth.

    `limbs` (H, W) are indices of the joints whose limbs the surfaces are, -1 for none's; `joints` (J, 3) are world
    positions that are inside the image, or NaN; `flesh` (J,) is from `visibility.flesh_thickness`.
    """
    height, width = depth.shape
    pixels, z = camera.project(joints)
    known = np.isfinite(pixels).all(axis=1)
    columns, rows = np.where(known[:, None], pixels, 0).astype(int).T
    seen = []
    for down, right in AROUND:
        at = np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)
        stretch = np.linalg.norm(joints - camera.position, axis=1) / z  # metres along the ray for one of depth
        gap = (z - depth[at]) * stretch
        others = ~np.isin(instances[at], [person + 1, OCCLUDER])
        gap = np.select([instances[at] == 0, gap < 0, others], [np.nan, 0.0, np.inf], gap)
        limb = np.where(instances[at] == person + 1, limbs[at], -1)
        seen.append(visibility.visible(gap, limb, flesh) & known)
    return np.array(seen)


def carried(start, arrival, z, depth, rows, columns, returned) -> tuple[np.ndarray, np.ndarray]:
    """Of points that flow takes from pixels `start` to `arrival` (N, 2) and depths `z` (N,) in the next frame: whether
    it is they that are seen there, and whether something that is nearer may hide them.

    `depth` (H, W) is the next frame's; `rows` and `columns` (N,) are the pixels of arrival; `returned` (N, 2) is where
    what is seen through the centres of these was before, NaN where nothing is seen.
    """
    height, width = depth.shape
    around = [(np.clip(rows + down, 0, height - 1), np.clip(columns + right, 0, width - 1)) for down, right in AROUND]
    nearest = np.min([np.where(depth[at] > 0, depth[at], np.inf) for at in around], axis=0)
    beside = centres(rows, columns) - arrival  # what is seen there was as far beside before
    same = np.linalg.norm(np.nan_to_num(returned - beside - start, nan=np.inf), axis=1) <= 1.0
    return same, ~same & (nearest < z - SAME_DEPTH)


def judge(view: str, checks: Mapping, limits: Mapping[str, float]) -> None:
    """Raise PoseFactoryError, naming `view`, when the `checks` of passes.json break one of the `limits` of the config's
    validation.passes. What could not be measured (NaN) breaks none."""
    depth, first = checks["depth_max_mm"], checks["first_surface"]
    normals, box = checks["normals_p95_degrees"], checks["box_max_px"]
    visible, lost = checks["visibility_within_a_pixel"], checks["flow_lost"]
    faults = {
        "depth_mm": (depth, f"its depth is up to {depth:.3g} mm off the mesh"),
        "first_surface": (-first, f"only {first:.1%} of its pixels show what is first"),
        "normals_degrees": (normals, f"its normals are up to {normals:.3g} degrees from those of its depth"),
        "box_px": (box, f"a person's box is {box:.3g} px off"),
        "visibility": (-visible, f"only {visible:.1%} of its joints are as visible as the ground truth says"),
        "flow": (lost, f"its flow takes {lost:.1%} of the pixels to where they are not"),
    }
    for name, (measured, what) in faults.items():
        if measured > (-limits[name] if name in ("first_surface", "visibility") else limits[name]):
            raise PoseFactoryError(
                f"The passes of view '{view}' contradict each other or its labels: {what} (validation.passes.{name} is "
                f"{limits[name]:g})."
            )
