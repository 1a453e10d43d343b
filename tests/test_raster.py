"""The raster against closed forms and against Blender's own rays."""

import numpy as np
import pytest
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from pose_factory.geometry import raster
from pose_factory.geometry.raster import rasterise

WIDTH, HEIGHT = 64, 48
K = np.array([[80.0, 0, 30], [0, 90.0, 25], [0, 0, 1]])
NEAR = 0.01


def rays() -> np.ndarray:
    """(H, W, 3) through the centres of the pixels, one metre deep."""
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T


def see(corners, near: float = NEAR) -> raster.Raster:
    return rasterise(np.asarray(corners, float), K, WIDTH, HEIGHT, near)


def grid(corner, right, down, cells: int) -> np.ndarray:
    """A parallelogram in triangles, with points moved about within it, so that edges lie at all slants."""
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, (cells + 1, cells + 1, 2))
    jitter[[0, -1]] = jitter[:, [0, -1]] = 0
    shares = (np.stack(np.meshgrid(*[np.arange(cells + 1)] * 2), axis=-1) + jitter) / cells
    points = corner + shares[..., :1] * right + shares[..., 1:] * down
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    halves = [np.stack(half, axis=2).reshape(-1, 3, 3) for half in ((a, b, c), (a, c, d))]
    return np.concatenate(halves)


def test_a_plane_has_the_depth_of_its_equation_in_every_pixel_whichever_way_it_is_cut():
    corner, right, down = np.array([-4.0, -4, 3]), np.array([9.0, 0, 1]), np.array([0.5, 9, 2])
    normal = np.cross(right, down)
    expected = (corner @ normal) / (rays() @ normal)
    for cells in (1, 7, 40):
        corners = grid(corner, right, down, cells)
        seen = see(corners)
        assert (seen.triangle >= 0).all()  # no gap along any edge
        np.testing.assert_allclose(seen.depth, expected, rtol=1e-12)
        np.testing.assert_allclose(seen.weights.sum(axis=-1), 1, rtol=1e-12)
        points = (seen.weights[..., None] * corners[seen.triangle]).sum(axis=-2)
        np.testing.assert_allclose(points, rays() * seen.depth[..., None], atol=1e-12)


def test_a_pixel_is_in_where_its_centre_is_and_edges_that_pass_through_centres_leave_no_gap():
    binary = np.array([[64.0, 0, 32], [0, 64, 24], [0, 0, 1]])  # without rounding

    def covered(left: float, top: float) -> np.ndarray:
        """Where a square of 10 pixels, 2 m away in two triangles, is seen."""
        corners = np.array([[left, top, 1], [left + 10, top, 1], [left + 10, top + 10, 1], [left, top + 10, 1]])
        a, b, c, d = 2 * corners @ np.linalg.inv(binary).T
        return rasterise(np.array([[a, b, c], [a, c, d]]), binary, WIDTH, HEIGHT, NEAR).triangle >= 0

    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:16, 10:21] = True
    np.testing.assert_array_equal(covered(10.5, 5.5), expected)
    expected[5], expected[:, 10] = False, False
    for left, top in ((10.75, 5.75), (11.25, 6.25)):
        np.testing.assert_array_equal(covered(left, top), expected)


def test_the_nearest_counts_and_of_two_at_one_depth_the_first():
    far = np.array([[-9.0, -9, 4], [9, -9, 4], [0, 20, 4]])
    near = np.array([[-0.2, -0.2, 2], [0.2, -0.2, 2], [0, 0.3, 2.5]])
    for order in ([far, near], [near, far]):
        seen = see(order)
        picked = np.array([corners is near for corners in order])[seen.triangle]
        assert picked.any() and not picked.all()
        np.testing.assert_array_equal(seen.depth < 3.9, picked)
    assert set(np.unique(see([far, far, near, near]).triangle)) == {0, 2}


def test_both_sides_count_and_what_has_no_area_or_lies_behind_does_not():
    far = np.array([[-9.0, -9, 4], [9, -9, 4], [0, 20, 4]])
    np.testing.assert_array_equal(see([far]).depth, see([far[::-1]]).depth)
    for nothing in ([far[[0, 0, 1]]], [far * [1, 1, -1]], np.empty((0, 3, 3))):
        seen = see(nothing)
        assert (seen.triangle == -1).all() and np.isinf(seen.depth).all() and (seen.weights == 0).all()


def test_a_floor_that_passes_under_the_camera_is_seen_from_the_near_plane_on():
    """y = 1, from 5 m behind the camera to 50 m before it."""
    floor = grid(np.array([-40.0, 1, -5]), np.array([80.0, 0, 0]), np.array([0, 0, 55.0]), 2)
    near, towards = 5.0, rays()
    with np.errstate(divide="ignore"):
        expected = 1 / towards[..., 1]
    inside = (expected >= near) & (expected <= 50)
    seen = see(floor, near)
    np.testing.assert_array_equal(seen.triangle >= 0, inside)
    np.testing.assert_allclose(seen.depth[inside], expected[inside], rtol=1e-10)
    assert 0 < inside.sum() < inside.size and (towards[..., 1] > 1 / near).any()


def test_a_sphere_is_as_its_equation_says():
    """Radius 1 at 4 m; its polygons lie at most 1 - cos(half a step) inside of it."""
    steps = 180
    theta, phi = np.linspace(0, np.pi, steps + 1), np.linspace(0, 2 * np.pi, 2 * steps + 1)
    points = np.stack(
        [
            np.sin(theta)[:, None] * np.cos(phi),
            np.sin(theta)[:, None] * np.sin(phi),
            np.broadcast_to(np.cos(theta)[:, None], (steps + 1, 2 * steps + 1)),
        ],
        axis=-1,
    ) + [0.1, -0.2, 4]
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    seen = see(np.concatenate([np.stack(half, axis=2).reshape(-1, 3, 3) for half in ((a, b, c), (a, c, d))]))
    hit = seen.triangle >= 0
    surface = rays()[hit] * seen.depth[hit][:, None] - [0.1, -0.2, 4]
    sagitta = 1 - np.cos(np.pi / steps / 2) ** 2
    radius = np.linalg.norm(surface, axis=1)
    assert radius.max() <= 1 + 1e-12 and radius.min() >= 1 - sagitta
    assert (surface[:, 2] < 0).all()  # the near side
    unit = rays() / np.linalg.norm(rays(), axis=-1, keepdims=True)
    centre = np.array([0.1, -0.2, 4])
    distance = np.linalg.norm(np.cross(unit, centre), axis=-1)
    assert hit[distance < 1 - sagitta].all() and not hit[distance > 1].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_soup_of_triangles_is_seen_as_blender_s_rays_see_it(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform([-1, -1, 1.5], [1, 1, 4], (150, 1, 3)) + rng.uniform(-0.4, 0.4, (150, 3, 3))
    seen = see(corners)
    tree = BVHTree.FromPolygons([Vector(p) for p in corners.reshape(-1, 3)], np.arange(450).reshape(-1, 3).tolist())
    found = [tree.ray_cast(Vector(), Vector(ray)) for ray in rays().reshape(-1, 3)]
    triangle = np.array([-1 if index is None else index for _, _, index, _ in found]).reshape(HEIGHT, WIDTH)
    assert (triangle >= 0).mean() > 0.5 and (triangle < 0).any()
    assert (triangle != seen.triangle).mean() < 1e-3  # rays in single precision may pass a border on its other side
    depth = np.array([np.inf if point is None else point.z for point, *_ in found]).reshape(HEIGHT, WIDTH)
    same = (triangle == seen.triangle) & (triangle >= 0)
    np.testing.assert_allclose(seen.depth[same], depth[same], rtol=1e-5)


def test_how_many_pairs_are_in_memory_changes_nothing(monkeypatch):
    corners = np.random.default_rng(1).uniform([-1, -1, 1], [1, 1, 4], (40, 3, 3))
    corners = np.concatenate([corners, corners])  # each twice, at one depth, far apart in the order
    whole = see(corners)
    monkeypatch.setattr(raster, "PAIRS_AT_ONCE", 97)
    parts = see(corners)
    assert whole.triangle.max() < 40
    for name in ("triangle", "weights", "depth"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
