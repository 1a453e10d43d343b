"""BlazePose's networks, run on their own, against MediaPipe's solution; the backend on top of them."""

import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pose_factory.skeleton import JOINTS
from pose_factory.tracking import appearance, camera
from pose_factory.tracking.blazepose import DETECTOR_SIZE, LANDMARK_SIZE, Networks, Region, _anchors, _distinct
from pose_factory.tracking.mediapipe_pose import Backend, PersonDetector

SETTINGS = {"mediapipe": {"detection_confidence": 0.5, "pose_confidence": 0.5}}


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks()


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend(SETTINGS, 2)


# Against MediaPipe


def test_landmarks_are_those_of_mediapipes_own_solution(person_film, networks):
    """Both run the same networks on a single image; resampling the crop is all that may differ."""
    from mediapipe.python.solutions.pose import Pose

    with warnings.catch_warnings(), Pose(static_image_mode=True, model_complexity=1) as solution:
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
        for _, image in list(person_film)[::8]:
            theirs = solution.process(image)
            height, width = image.shape[:2]
            pixels = np.array([(p.x * width, p.y * height) for p in theirs.pose_landmarks.landmark])
            world = np.array([(p.x, p.y, p.z) for p in theirs.pose_world_landmarks.landmark])
            ((region, _),) = networks.detect(image, 0.5)
            ours = networks.landmarks(image, region)
            assert np.linalg.norm(ours.pixels - pixels, axis=1).mean() < 0.005 * height
            assert np.linalg.norm(ours.world - world, axis=1).mean() < 0.015
            assert np.abs(ours.visibility - [p.visibility for p in theirs.pose_landmarks.landmark]).mean() < 0.05


def test_the_detector_has_an_anchor_for_each_of_its_answers():
    anchors = _anchors()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:4], [[4, 4], [4, 4], [12, 4], [12, 4]] / np.float64(DETECTOR_SIZE))


# Regions


def test_a_region_is_upright_in_the_bodys_sense():
    """A body lying on its side, head to the right: its head is at the top of the region's picture."""
    region = Region.about(np.array([100.0, 50.0]), np.array([140.0, 50.0]))
    to_image = region.to_image(LANDMARK_SIZE)
    top, bottom = to_image @ [128, 0, 1], to_image @ [128, 256, 1]
    np.testing.assert_allclose(top, [150, 50], atol=1e-9)
    np.testing.assert_allclose(bottom, [50, 50], atol=1e-9)


def test_the_middle_of_a_region_is_the_middle_of_its_picture():
    region = Region(np.array([30.0, 70.0]), 64.0, 0.7)
    np.testing.assert_allclose(region.to_image(256) @ [128, 128, 1], [30, 70], atol=1e-9)


def test_overlapping_finds_become_one_by_their_scores():
    head = [[0.5, 0.3], [0.2, 0.2]]
    values = np.array(
        [
            [*head, *[[0.5, 0.5]] * 4],
            [[0.52, 0.3], *head[1:], *[[0.6, 0.5]] * 4],
            [[0.9, 0.3], *head[1:], *[[0.9, 0.5]] * 4],
        ]
    )
    (first, score), (second, _) = _distinct(values, np.array([0.9, 0.6, 0.7]))
    assert score == 0.9
    np.testing.assert_allclose(first[2], [(0.9 * 0.5 + 0.6 * 0.6) / 1.5, 0.5])
    np.testing.assert_allclose(second, values[2])


# The backend


def test_a_pose_is_what_its_parameters_assemble_to(person_film, backend):
    _, image = next(iter(person_film))
    ((pose,),) = backend.detect([image])
    np.testing.assert_allclose(backend.assemble(pose.rotations, pose.shape), pose.joints, atol=1e-12)
    hips = [backend.joints.index("left_hip"), backend.joints.index("right_hip")]
    np.testing.assert_allclose(pose.joints[hips].mean(axis=0), 0, atol=1e-12)
    assert backend.joints == [joint for joint in JOINTS if joint not in ("spine", "head_top")]
    assert (pose.pixels >= pose.box[:2]).all() and (pose.pixels <= pose.box[2:]).all()


def test_the_same_images_give_the_same_poses_in_any_batch(person_film, backend):
    images = [image for _, image in person_film][:6]
    together, alone = backend.detect(images), [backend.detect([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[0].joints, other[0].joints)


def test_two_people_in_one_image_are_found(person_film, backend):
    """Side by side, one of them smaller."""
    _, image = next(iter(person_film))
    smaller = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    beside = np.full((image.shape[0], smaller.shape[1], 3), image[0, 0], np.uint8)
    beside[-smaller.shape[0] :] = smaller
    (poses,) = backend.detect([np.hstack([image, beside])])
    middles = sorted(float(pose.box[[0, 2]].mean()) for pose in poses)
    assert len(poses) == 2
    assert middles[0] < image.shape[1] < middles[1]


def test_nobody_is_found_where_there_is_nobody(backend):
    empty, noise = (
        np.full((120, 200, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8),
    )
    assert backend.detect([empty, noise]) == [[], []]
    assert backend.look([empty], [np.array([20.0, 20, 80, 100])], 0.5) == [None]


def test_looking_where_a_person_is_finds_the_same_pose(person_film, backend):
    """Even with a box that is 15 % off to the side."""
    images = [image for _, image in person_film][:4]
    found = [poses[0] for poses in backend.detect(images)]
    off = [pose.box + 0.15 * (pose.box[2] - pose.box[0]) * np.array([1, 0, 1, 0]) for pose in found]
    for again, pose in zip(backend.look(images, off, 0.5), found, strict=True):
        assert np.linalg.norm(again.pixels - pose.pixels, axis=1).mean() < 0.02 * (pose.box[3] - pose.box[1])


def test_a_box_beyond_the_image_or_without_extent_is_no_error(person_film, backend):
    _, image = next(iter(person_film))
    looked = backend.look([image, image], [np.array([-500.0, -500, -400, -300]), np.array([10.0, 10, 10, 10])], 0.9)
    assert looked == [None, None]


def test_an_image_smaller_than_the_networks_inputs_is_no_error(backend):
    assert backend.detect([np.zeros((16, 16, 3), np.uint8)]) == [[]]


def tampered(name: str, change):
    """Landmarks of which `name` is changed, in every image."""
    landmarks = Networks.landmarks

    def wrong(self, *given):
        found = landmarks(self, *given)
        return replace(found, **{name: change(getattr(found, name))})

    return wrong


def one_missing(values: np.ndarray) -> np.ndarray:
    """The landmark of a finger, which is no joint of ours, is not a number."""
    return np.where(np.arange(len(values))[:, None] == 17, np.nan, values)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("world", lambda world: world * np.nan, "not finite"),
        ("pixels", one_missing, "not finite"),
        ("score", lambda score: np.nan, None),
        ("world", lambda world: world * [-1, -1, 1], "behind the camera"),
    ],
    ids=["positions", "one landmark", "score", "behind the camera"],
)
def test_what_cannot_be_is_nobody_and_the_log_says_so(person_film, backend, monkeypatch, caplog, name, change, said):
    _, image = next(iter(person_film))
    ((pose,),) = backend.detect([image])
    monkeypatch.setattr(Networks, "landmarks", tampered(name, change))
    assert backend.detect([image]) == [[]]
    assert backend.look([image], [pose.box], 0.1) == [None]
    assert said is None or said in caplog.text


def test_the_person_detector_gives_the_backends_boxes(person_film, backend):
    _, image = next(iter(person_film))
    ((box, score),) = PersonDetector(SETTINGS, 1).boxes([image])[0:1][0]
    ((pose,),) = backend.detect([image])
    np.testing.assert_array_equal(box, pose.box)
    assert score == pose.score


# The assumed camera


def test_a_translation_is_found_again():
    rng = np.random.default_rng(0)
    joints, truth = rng.normal(0, 0.4, (21, 3)), np.array([0.4, -0.2, 60.0])
    pixels = camera.project(joints, truth, 640, 480)
    np.testing.assert_allclose(camera.translation(joints, pixels, np.ones(21), 640, 480), truth, atol=1e-8)


def test_a_joint_without_weight_does_not_move_the_translation():
    rng = np.random.default_rng(0)
    joints, truth = rng.normal(0, 0.4, (21, 3)), np.array([0.4, -0.2, 60.0])
    pixels = camera.project(joints, truth, 640, 480)
    pixels[3] += 100
    weights = np.ones(21)
    weights[3] = 0
    np.testing.assert_allclose(camera.translation(joints, pixels, weights, 640, 480), truth, atol=1e-8)


def test_the_focal_length_is_hmr2s():
    """5000 for a crop of 256 pixels: a body of 1 m at 5000/256 m is as wide as the image's longer side."""
    assert camera.focal_length(640, 480) == pytest.approx(5000 / 256 * 640)


# Appearance


def person_in(colours: dict[str, tuple]) -> tuple[np.ndarray, np.ndarray]:
    """An image of flat colours (above and below the hips) and a standing person's joints in it."""
    image = np.zeros((200, 100, 3), np.uint8)
    image[:100], image[100:] = colours["top"], colours["bottom"]
    heights = {
        "nose": 20,
        "ear": 20,
        "eye": 18,
        "shoulder": 40,
        "elbow": 65,
        "wrist": 90,
        "hip": 100,
        "knee": 140,
        "ankle": 190,
    }
    places = {"left": 60, "right": 40}
    pixels = [(places.get(joint.split("_")[0], 50), heights.get(joint.split("_")[-1], 100)) for joint in Backend.joints]
    return image, np.array(pixels, float)


def test_appearance_tells_clothes_apart_and_not_brightness_of_one_pixel():
    red, blue = {"top": (200, 30, 30), "bottom": (40, 40, 40)}, {"top": (30, 30, 200), "bottom": (220, 220, 220)}
    one, other = (appearance.describe(*person_in(colours), Backend.joints) for colours in (red, blue))
    image, pixels = person_in(red)
    image[60:62] = 255
    again = appearance.describe(image, pixels + 1, Backend.joints)
    distance = lambda a, b: ((a - b) ** 2).sum() / 1000**2  # noqa: E731
    assert one.shape == (appearance.LENGTH,)
    assert distance(one, other) > 0.5
    assert distance(one, again) < 0.02


def test_appearance_of_somebody_half_outside_the_image_is_finite():
    image, pixels = person_in({"top": (200, 30, 30), "bottom": (40, 40, 40)})
    assert np.isfinite(appearance.describe(image, pixels + [90.0, 150.0], Backend.joints)).all()
