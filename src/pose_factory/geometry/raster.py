"""Which triangle a pinhole camera sees through the centre of each pixel, exactly: no filter, no samples."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PAIRS_AT_ONCE = 500_000
"""Triangles times pixels that are in memory together."""
ROUNDING = 1e-6
"""Pixels by which the box around a triangle is widened, so that rounding leaves no pixel on its border out."""


@dataclass(frozen=True)
class Raster:
    """What is seen through each pixel's centre: `triangle` (H, W) its index, -1 where there is none; `weights`
    (H, W, 3) the barycentric coordinates of the point in it; `depth` (H, W) the point's z in camera axes, metres,
    infinite where there is none."""

    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray


def rasterise(corners: np.ndarray, K: np.ndarray, width: int, height: int, near: float) -> Raster:
    """The nearest of the triangles `corners` (T, 3 corners, 3), camera axes in metres, through every pixel's centre.

    `K` (3, 3) are the camera's intrinsics; what lies before z = `near` (metres, > 0) is not seen. Both sides of a
    triangle count. Triangles that share an edge leave no gap; of two at one depth the first counts. Homogeneous
    coordinates serve triangles that reach behind the camera, too (Olano & Greer, "Triangle scan conversion using 2D
    homogeneous coordinates", 1997): a ray d = K^-1 (u, v, 1) meets triangle (a, b, c) where d . (b x c), d . (c x a)
    and d . (a x b) have one sign; their shares are the weights, and the depth is a . (b x c) over their sum.
    """
    a, b, c = np.moveaxis(np.asarray(corners, float), 1, 0)
    edges = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    volume = (a * edges[:, 0]).sum(axis=1)
    edges *= np.sign(volume)[:, None, None]
    volume = np.abs(volume)
    # The edges as functions of the pixel, not of the ray: d . e = (u, v, 1) . (K^-T e).
    # One product after the other, so that an edge's function is exactly minus its neighbour's.
    inverse = np.linalg.inv(K)
    edges = edges[..., :1] * inverse[0] + edges[..., 1:2] * inverse[1] + edges[..., 2:] * inverse[2]

    boxes = _pixel_boxes(corners, K, width, height, near)
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (volume > 0))
    raster = Raster(
        np.full(height * width, -1, np.int32), np.zeros((height * width, 3)), np.full(height * width, np.inf)
    )
    for row, x, y in _pairs(boxes[kept]):
        index = kept[row]
        edge = edges[index]
        weights = edge[..., 0] * (x + 0.5)[:, None] + edge[..., 1] * (y + 0.5)[:, None] + edge[..., 2]
        hit = np.flatnonzero((weights >= 0).all(axis=1))
        index, weights, pixel = index[hit], weights[hit], y[hit] * width + x[hit]
        total = weights.sum(axis=1)
        with np.errstate(divide="ignore"):
            depth = volume[index] / total
        seen = np.flatnonzero((depth >= near) & (depth < raster.depth[pixel]))
        index, weights, pixel, total, depth = (values[seen] for values in (index, weights, pixel, total, depth))
        np.minimum.at(raster.depth, pixel, depth)
        # The last that is written to a pixel stays: of several at one depth, the first.
        first = np.flatnonzero(depth == raster.depth[pixel])[::-1]
        raster.triangle[pixel[first]] = index[first]
        raster.weights[pixel[first]] = weights[first] / total[first, None]
    return Raster(
        raster.triangle.reshape(height, width),
        raster.weights.reshape(height, width, 3),
        raster.depth.reshape(height, width),
    )


def _pixel_boxes(corners: np.ndarray, K: np.ndarray, width: int, height: int, near: float) -> np.ndarray:
    """(T, 4) x0, y0, x1, y1 of the pixels whose centres may be in each triangle; x1 and y1 are excluded."""
    points = np.ascontiguousarray(np.moveaxis(corners, 1, 0))
    following = np.roll(points, -1, axis=0)
    before, after = points[..., 2:], following[..., 2:]
    known = before >= near
    crosses = known != (after >= near)
    if crosses.any():  # the triangle ends where it passes the near plane
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = points + (near - before) / (after - before) * (following - points)
        points, known = np.concatenate([points, cut]), np.concatenate([known, crosses])
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (points @ K.T)[..., :2] / points[..., 2:]
    size = np.array([width, height])
    low = np.where(known, pixels, np.inf).min(axis=0).clip(0, size)
    high = np.where(known, pixels, -np.inf).max(axis=0).clip(0, size)
    first, last = np.ceil(low - 0.5 - ROUNDING), np.floor(high - 0.5 + ROUNDING)
    return np.concatenate([first.clip(0), (last + 1).clip(0)], axis=1).astype(np.int64)


def _pairs(boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(row of `boxes`, x, y) of every pixel of every box, in the order of the boxes, some at a time."""
    x0, y0, x1, y1 = boxes.T
    wide = x1 - x0
    ends = np.cumsum(wide * (y1 - y0))
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, PAIRS_AT_ONCE):
        number = np.arange(start, min(start + PAIRS_AT_ONCE, total))
        row = np.searchsorted(ends, number, side="right")
        number -= np.where(row > 0, ends[row - 1], 0)
        yield row, x0[row] + number % wide[row], y0[row] + number // wide[row]
