"""Framing against brute force and closed forms; the camera against Blender's own projection; bounds against every
vertex."""

import bpy
import numpy as np
import pytest
from angles import angle
from bpy_extras.object_utils import world_to_camera_view
from characters import make
from mathutils import Vector
from scipy.spatial import ConvexHull

from pose_factory.blender import bounds, evaluate, scene
from pose_factory.blender.prepare import prepare
from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.framing import RING_AZIMUTHS, direction, frame_view, required_distance, swept_hull

ANGLE = angle(resolution=[512, 512], framing="ring")


def bounds_of(points: np.ndarray) -> dict:
    return {"hull": points.tolist(), "target": ((points.min(axis=0) + points.max(axis=0)) / 2).tolist()}


def fill(points: np.ndarray, view: dict) -> float:
    """The largest share of the half image that any point reaches from the centre, over both axes."""
    camera = Camera.from_json(view)
    pixels, depth = camera.project(points)
    assert (depth > 0).all()
    centre = np.array([camera.width, camera.height]) / 2
    return float((np.abs(pixels - centre) / centre).max())


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4000, 3)) * [0.3, 0.2, 0.5] + [3, -2, 0.9]


@pytest.mark.parametrize("azimuth", [0, 45, 100, 222.5, 359])
@pytest.mark.parametrize(
    ("elevation", "focal", "resolution"), [(0, 50, [512, 512]), (40, 24, [640, 360]), (-30, 85, [240, 400])]
)
def test_each_view_is_filled_exactly_to_its_margin(body, azimuth, elevation, focal, resolution):
    angle = {
        **ANGLE,
        "framing": "each",
        "azimuth": azimuth,
        "elevation": elevation,
        "focal_length": focal,
        "resolution": resolution,
    }
    assert fill(body, frame_view(bounds_of(body), angle)) == pytest.approx(0.9, abs=1e-9)


def test_a_ring_shares_distance_and_target_and_its_tightest_view_is_filled_exactly(body):
    views = [frame_view(bounds_of(body), {**ANGLE, "azimuth": azimuth}) for azimuth in RING_AZIMUTHS]
    assert len({view["distance"] for view in views}) == 1
    assert len({tuple(view["target"]) for view in views}) == 1
    shares = [fill(body, view) for view in views]
    assert max(shares) == pytest.approx(0.9, abs=1e-9)
    between = frame_view(bounds_of(body), {**ANGLE, "azimuth": 20})
    assert fill(body, between) <= 0.9 + 1e-9


def test_the_hull_frames_as_all_points_do(body):
    frames = np.split(body, 10)
    corners = swept_hull(frames)
    assert len(corners) < 300
    assert ConvexHull(corners).volume == pytest.approx(ConvexHull(body).volume, rel=1e-12)
    args = ([3, -2, 0.9], 33.0, 12.0, (0.3, 0.2))
    assert required_distance(corners, *args) == required_distance(body, *args)


def test_distance_of_a_single_offset_point_is_the_closed_form():
    """A point 1 m to the side of the target needs d = 1 / half_extent; 0.5 m nearer to the camera, 0.5 m more."""
    assert required_distance(np.array([[1.0, 0, 0]]), np.zeros(3), 0, 0, (0.25, 1)) == pytest.approx(4)
    assert required_distance(np.array([[1.0, -0.5, 0]]), np.zeros(3), 0, 0, (0.25, 1)) == pytest.approx(4.5)


def test_flat_and_tiny_bodies_are_framed_and_broken_ones_refused():
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 2], [0, 0, 2.0]])
    np.testing.assert_array_equal(np.sort(swept_hull([flat]), axis=0), np.sort(flat, axis=0))
    np.testing.assert_array_equal(swept_hull([flat[:1]]), flat[:1])
    with pytest.raises(PoseFactoryError, match="not finite"):
        swept_hull([np.array([[0, 0, np.nan]])])


def test_azimuth_names_blenders_views():
    np.testing.assert_allclose(direction(0, 0), [0, -1, 0], atol=1e-15)
    np.testing.assert_allclose(direction(90, 0), [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(direction(0, 90), [0, 0, 1], atol=1e-15)


def test_camera_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    camera = Camera.look_at([2, -3, 1.5], [0.1, 0.2, 0.9], 700, 640, 480)
    points = np.random.default_rng(1).normal(size=(50, 3)) * 0.4 + [0, 0, 1]
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(camera.R)[0], camera.t, camera.K, None)
    np.testing.assert_allclose(camera.project(points)[0], expected[:, 0], atol=1e-9)
    assert np.linalg.det(camera.R) == pytest.approx(1)
    np.testing.assert_allclose(camera.position, [2, -3, 1.5])
    with pytest.raises(ValueError, match="roll"):
        Camera.look_at([0, 0, 3], [0, 0, 0], 700, 640, 480)


@pytest.mark.parametrize("azimuth", [0, 45, 90, 135, 180, 225, 270, 315, 12.3])
@pytest.mark.parametrize(
    ("elevation", "focal", "resolution"), [(5, 50, [512, 512]), (35, 24, [640, 360]), (-20, 105, [200, 500])]
)
def test_projection_agrees_with_blenders_to_a_hundredth_of_a_pixel(body, azimuth, elevation, focal, resolution):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    angle = {**ANGLE, "azimuth": azimuth, "elevation": elevation, "focal_length": focal, "resolution": resolution}
    view = frame_view(bounds_of(body), angle)
    blender_camera = scene.add_camera(view)
    theirs = np.array([world_to_camera_view(bpy.context.scene, blender_camera, Vector(point)) for point in body[:200]])
    ours, depth = Camera.from_json(view).project(body[:200])
    theirs_px = np.stack([theirs[:, 0] * resolution[0], (1 - theirs[:, 1]) * resolution[1]], axis=1)
    assert np.abs(ours - theirs_px).max() < 0.01
    np.testing.assert_allclose(depth, theirs[:, 2], atol=1e-4)


@pytest.mark.parametrize("name", ["plain.fbx", "shape_key.blend", "subsurf.blend"])
def test_bounds_hold_every_vertex_of_every_frame(tmp_path, name):
    facts = prepare({"file": str(make(tmp_path, name))}, tmp_path / "character.blend")
    scene.open_character(tmp_path / "character.blend")
    found = bounds.measure(facts)
    meshes = evaluate.character_meshes()
    frames = range(facts["first_frame"], facts["last_frame"] + 1)
    everything = np.concatenate([evaluate.vertices(meshes) for _ in evaluate.each_frame(frames)])
    np.testing.assert_allclose(found["low"], everything.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(found["high"], everything.max(axis=0), atol=1e-9)
    assert ConvexHull(np.array(found["hull"])).volume == pytest.approx(ConvexHull(everything).volume, rel=1e-9)
    views = [frame_view(found, {**ANGLE, "azimuth": azimuth}) for azimuth in RING_AZIMUTHS]
    assert max(fill(everything, view) for view in views) == pytest.approx(0.9, abs=1e-9)
