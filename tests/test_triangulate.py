"""Triangulation against the truth and OpenCV, and the ground truth check that stands on it."""

import cv2
import numpy as np
import pandas as pd
import pytest
from synthetic_person import camera, labels, walk

from pose_factory.errors import PoseFactoryError
from pose_factory.geometry.camera import Camera
from pose_factory.geometry.triangulate import triangulate
from pose_factory.skeleton import INDEX
from pose_factory.validation.ground_truth_check import check_character


def pixels_of(world, cameras):
    return np.stack([at.project(world)[0] for at in cameras])


@pytest.mark.parametrize("azimuths", [(0, 90), (0, 45, 200), range(0, 360, 45)])
def test_exact_pixels_give_exact_points(azimuths):
    world, cameras = walk(5), [camera(azimuth) for azimuth in azimuths]
    points, error = triangulate(pixels_of(world, cameras), cameras)
    np.testing.assert_allclose(points, world, atol=1e-9)
    np.testing.assert_allclose(error, 0, atol=1e-8)


def test_noisy_pixels_agree_with_opencv():
    world, cameras = walk(3), [camera(10), camera(80)]
    pixels = pixels_of(world, cameras) + np.random.default_rng(0).normal(0, 3, (2, 3, 23, 2))
    points, error = triangulate(pixels, cameras)
    projections = [np.column_stack([at.R, at.t]) for at in cameras]
    rays = [((block - at.K[:2, 2]) / at.K[0, 0]).reshape(-1, 2).T for block, at in zip(pixels, cameras, strict=True)]
    homogeneous = cv2.triangulatePoints(*projections, *rays)
    np.testing.assert_allclose(points.reshape(-1, 3), (homogeneous[:3] / homogeneous[3]).T, atol=1e-6)
    assert 0.5 < error.mean() < 4


def test_reprojection_error_is_the_root_mean_square_over_the_views_used():
    world, cameras = walk(2), [camera(0), camera(90), camera(180)]
    pixels = pixels_of(world, cameras) + np.random.default_rng(1).normal(0, 2, (3, 2, 23, 2))
    pixels[2, 0] = np.nan
    points, error = triangulate(pixels, cameras)
    residuals = np.linalg.norm(pixels_of(points, cameras) - pixels, axis=-1)
    np.testing.assert_allclose(error[1], np.sqrt((residuals[:, 1] ** 2).mean(0)))
    np.testing.assert_allclose(error[0], np.sqrt((residuals[:2, 0] ** 2).mean(0)))


def test_missing_views_are_skipped_and_one_view_is_not_enough():
    world, cameras = walk(4), [camera(0), camera(90), camera(200)]
    pixels = pixels_of(world, cameras)
    pixels[0, 0] = np.nan
    pixels[:2, 1] = np.nan
    pixels[:, 2] = np.nan
    points, error = triangulate(pixels, cameras)
    np.testing.assert_allclose(points[[0, 3]], world[[0, 3]], atol=1e-9)
    assert np.isnan(points[1:3]).all()
    assert np.isnan(error[1:3]).all()
    assert np.isnan(triangulate(pixels[:1], cameras[:1])[0]).all()


def ring(world, azimuths=(0, 90, 225)):
    return {f"at_{azimuth}": (labels(world, camera(azimuth)), camera(azimuth)) for azimuth in azimuths}


def test_consistent_labels_pass():
    world = walk(6)
    world[:, INDEX["left_eye"]] = np.nan
    measured = {"at_0": {"reprojection_max_px": 0.01, "inside_silhouette": 0.97}, "at_90": {"inside_silhouette": None}}
    result = check_character(ring(world), measured=measured)
    assert result["frames"] == 6
    assert result["triangulation"]["max_mm"] < 1e-5
    assert result["views"]["at_0"]["inside_silhouette"] == 0.97
    assert max(view["projection_max_px"] for view in result["views"].values()) < 1e-9


def people(worlds, azimuths=(0, 90, 225)):
    """Views of several people at once, their tables' rows in no order of people."""
    return {
        f"at_{azimuth}": (
            pd.concat([labels(world, camera(azimuth), person=index) for index, world in enumerate(worlds)]),
            camera(azimuth),
        )
        for azimuth in azimuths
    }


def test_labels_of_several_people_are_each_checked():
    result = check_character(people([walk(5), walk(5, seed=1) + [1, 0, 0]]))
    assert (result["people"], result["frames"]) == (2, 5)
    assert result["triangulation"]["max_mm"] < 1e-5
    assert check_character(ring(walk(5)))["people"] == 1


def test_people_mixed_up_in_one_view_are_caught():
    worlds = [walk(5), walk(5, seed=1) + [1, 0, 0]]
    views = {**people(worlds), "at_90": people(worlds[::-1], [90])["at_90"]}
    with pytest.raises(PoseFactoryError, match="'at_90' has .* mm between its joints"):
        check_character(views)


def test_a_person_that_a_view_or_a_frame_lacks_is_caught():
    worlds = [walk(5), walk(5, seed=1) + [1, 0, 0]]
    views = {**people(worlds), "at_90": people(worlds[:1], [90])["at_90"]}
    with pytest.raises(PoseFactoryError, match="different people"):
        check_character(views)
    views = people(worlds)
    table, view = views["at_0"]
    for missing in (table[(table.frame != 2) | (table.person != 1)], table[table.frame != 2 + 2 * table.person]):
        with pytest.raises(PoseFactoryError, match="'at_0' lacks"):
            check_character({**views, "at_0": (missing, view)})


def test_one_view_cannot_be_triangulated_and_says_so():
    result = check_character(ring(walk(3), azimuths=[0]))
    assert "one view only" in result["triangulation"]["note"]


def test_labels_of_another_camera_are_caught():
    views = ring(walk(3))
    views["at_90"] = (views["at_90"][0], camera(93))
    with pytest.raises(PoseFactoryError, match="'at_90' has .* px between u, v and the projected"):
        check_character(views)
    with pytest.raises(PoseFactoryError, match="triangulate to"):
        check_character(views, tolerance_px=1000)


def test_labels_of_another_pose_are_caught():
    world = walk(3)
    views = ring(world)
    views["at_90"] = (labels(world + [0, 0, 0.01], camera(90)), camera(90))
    with pytest.raises(PoseFactoryError, match="'at_90' has 10 mm between its joints and the other views'"):
        check_character(views)


def test_a_label_behind_its_camera_is_caught():
    world = walk(2)
    table = labels(world, camera(0))
    behind = Camera.look_at([0, -4, 1], [0, -8, 1], 600, 400, 400)
    with pytest.raises(PoseFactoryError, match="inf px"):
        check_character({"front": (table, behind)})


def test_an_annotated_joint_without_a_label_is_caught():
    views = ring(walk(2))
    views["at_90"][0].loc[3, ["u", "v"]] = np.nan
    with pytest.raises(PoseFactoryError, match="'at_90' has inf px"):
        check_character(views)


@pytest.mark.parametrize("figure", [{"inside_silhouette": 0.5}, {"reprojection_max_px": 3.0}])
def test_measured_figures_are_judged(figure):
    with pytest.raises(PoseFactoryError, match="'at_225'"):
        check_character(ring(walk(2)), measured={"at_225": figure})


def test_views_must_have_the_same_frames_and_joints():
    world = walk(4)
    views = ring(world)
    with pytest.raises(PoseFactoryError, match="different frames"):
        check_character({**views, "at_0": (labels(world[:3], camera(0)), camera(0))})
    with pytest.raises(PoseFactoryError, match="'at_0' lacks joints"):
        check_character({**views, "at_0": (views["at_0"][0].iloc[1:], camera(0))})
    world = world.copy()
    world[:, INDEX["nose"]] = np.nan
    with pytest.raises(PoseFactoryError, match="annotate different joints"):
        check_character({**views, "at_0": (labels(world, camera(0)), camera(0))})
