"""The backend hmr2 as a whole, with a tiny network and a body of rigid limbs: from the files to poses."""

import copy
import functools
import logging
from pathlib import Path

import cv2
import hmr2_files
import numpy as np
import pytest
import torch

from pose_factory import config
from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import crops, models
from pose_factory.skeleton import INDEX, JOINTS
from pose_factory.tracking import BACKENDS, appearance, camera, hmr2_pose, session
from pose_factory.tracking.hmr2_pose import Backend

BOXES = {
    "left": np.array([30.0, 20, 130, 220]),
    "right": np.array([180.5, 40, 300, 210]),
    "edge": np.array([260.0, -20, 380, 150]),
}


class Detector:
    """Finds people where coloured rectangles are, as sure as their red is strong."""

    def boxes(self, images, least=None):
        least = 0.5 if least is None else least
        found = []
        for image in images:
            assert image.size
            count, labels = cv2.connectedComponents((image[..., 0] > 0).astype(np.uint8))
            people = []
            for label in range(1, count):
                rows, columns = np.nonzero(labels == label)
                box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
                people.append((box, float(image[rows[0], columns[0], 0]) / 255))
            found.append(sorted((each for each in people if each[1] >= least), key=lambda each: -each[1]))
        return found


def picture(scores: dict[str, float], height: int = 240, width: int = 320) -> np.ndarray:
    """An image with people in some of the BOXES, which the detector finds with these scores."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1:] = np.random.default_rng(0).integers(0, 255, (height, width, 2))
    for name, score in scores.items():
        low, high = BOXES[name].round().astype(int).reshape(2, 2)
        image[max(low[1], 0) : high[1], max(low[0], 0) : high[0], 0] = round(score * 255)
    return image


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> dict:
    folder = hmr2_files.write_all(tmp_path_factory.mktemp("models"))
    return {
        "backend": "hmr2",
        "mediapipe": {"detection_confidence": 0.5, "pose_confidence": 0.5},
        "hmr2": {
            "models": str(folder),
            "sha256": "",
            "device": "cpu",
            "precision": "fp32",
            "batch": 3,
            "compile": False,
        },
    }


def make(settings: dict, **own) -> Backend:
    return Backend(settings | {"hmr2": settings["hmr2"] | own}, 1, Detector())


@pytest.fixture(scope="module")
def untouched(settings) -> Backend:
    return make(settings)


@pytest.fixture
def backend(untouched) -> Backend:
    """One that a test may tamper with."""
    return copy.copy(untouched)


def tampered(backend: Backend, tamper) -> None:
    """Have `tamper` called with the network and each batch in place of the network."""
    network = backend._network
    backend._network = lambda crops: tamper(network, crops)


def test_it_is_a_backend(backend):
    assert BACKENDS["hmr2"] == Backend.__module__
    assert backend.joints == JOINTS and backend.parametrisation


def test_people_are_found_and_have_bodies(backend):
    images = [picture({"left": 0.6, "right": 0.9}), picture({}), picture({"edge": 0.8})]
    found = backend.detect(images)
    assert [len(poses) for poses in found] == [2, 0, 1]
    assert [pose.score for pose in found[0]] == pytest.approx([0.9, 0.6], abs=0.01)
    np.testing.assert_array_equal(found[0][1].box, BOXES["left"])
    for image, poses in zip(images, found, strict=True):
        height, width = image.shape[:2]
        for pose in poses:
            assert pose.pixels.shape == (23, 2) and pose.joints.shape == (23, 3) and pose.confidence.shape == (23,)
            assert pose.rotations.shape == (24, 3, 3) and pose.shape.shape == (10,)
            np.testing.assert_allclose(
                pose.rotations @ pose.rotations.swapaxes(1, 2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5
            )
            np.testing.assert_allclose(backend.assemble(pose.rotations, pose.shape), pose.joints, atol=1e-6)
            hips = pose.joints[[INDEX["left_hip"], INDEX["right_hip"]]].mean(axis=0)
            np.testing.assert_allclose(hips, 0, atol=1e-9)
            np.testing.assert_allclose(camera.project(pose.joints, pose.translation, width, height), pose.pixels)
            np.testing.assert_allclose(pose.appearance, appearance.describe(image, pose.pixels, JOINTS))
            assert all(getattr(pose, name).dtype == np.float64 for name in ("box", "pixels", "joints", "translation"))


def test_the_body_stands_upright_in_its_box(backend):
    (poses,) = backend.detect([picture({"left": 0.6, "right": 0.9})])
    for pose in poses:
        middle, side = (pose.box[:2] + pose.box[2:]) / 2, crops.squares(pose.box[None])[1][0]
        assert np.abs(pose.pixels[INDEX["pelvis"]] - middle).max() < 0.4 * side
        assert pose.pixels[INDEX["head_top"], 1] < pose.pixels[INDEX["pelvis"], 1] < pose.pixels[INDEX["left_ankle"], 1]


def test_pixels_are_where_the_network_saw_the_joints_in_its_crop(backend):
    """By the network's own camera, that of the crop: (s, t_x, t_y), focal length 5000."""
    image = picture({"edge": 0.8})
    seen = []
    tampered(backend, lambda network, batch: seen.append(network(batch)) or seen[-1])
    ((pose,),) = backend.detect([image])
    s, t_x, t_y = seen[0].camera[0].double().numpy()
    joints, hips = backend._body.assemble(pose.rotations, pose.shape)
    points = joints + hips + [t_x, t_y, 2 * 5000 / (256 * s)]
    in_crop = 5000 * points[:, :2] / points[:, 2:] + 128
    (centre,), (side,) = crops.squares(pose.box[None])
    in_image = centre + (in_crop - 128) * side / 256
    assert np.abs(in_image - pose.pixels).max() < 0.01 * side  # two perspectives, both nearly parallel


def test_batches_do_not_matter(settings, backend):
    images = [picture({"left": 0.6, "right": 0.9}), picture({"edge": 0.8}, 300, 500), picture({"left": 0.7}, 240, 200)]
    one = make(settings, batch=1).detect(images)
    many = make(settings, batch=16).detect(images)
    for some in (one, many):
        for expected, found in zip(backend.detect(images), some, strict=True):
            assert len(expected) == len(found)
            for left, right in zip(expected, found, strict=True):
                np.testing.assert_allclose(left.pixels, right.pixels, atol=1e-2)
                np.testing.assert_allclose(left.rotations, right.rotations, atol=1e-5)


def test_out_of_memory_halves_the_batch_and_goes_on(settings, caplog):
    backend, sizes = make(settings, batch=16), []

    def full(network, batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return network(batch)

    expected = backend.detect([picture({"left": 0.6, "right": 0.9})] * 3)
    tampered(backend, full)
    with caplog.at_level(logging.WARNING):
        found = backend.detect([picture({"left": 0.6, "right": 0.9})] * 3)
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found[2][1].joints, expected[2][1].joints, atol=1e-5)
    assert [record.getMessage() for record in caplog.records] == [
        "Out of memory on cpu with 6 crops at once: from now on 3.",
        "Out of memory on cpu with 3 crops at once: from now on 1.",
    ]


def test_out_of_memory_with_one_crop_is_an_error(backend):
    def full(network, batch):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    tampered(backend, full)
    with pytest.raises(PoseFactoryError, match=r"Not even one crop fits .* set tracking\.hmr2\.device to cpu\.$"):
        backend.detect([picture({"left": 0.6, "right": 0.9})])


@pytest.mark.parametrize("field", ["rotations", "betas", "camera"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_left_out_and_logged(backend, caplog, field, value):
    image = picture({"left": 0.6, "right": 0.9})
    ((right, left),) = backend.detect([image])

    def poison(network, batch):
        said = network(batch)
        getattr(said, field)[0] = value
        return said

    tampered(backend, poison)
    (found,) = backend.detect([image])
    assert len(found) == 1
    np.testing.assert_allclose(found[0].joints, left.joints, atol=1e-5)
    assert "[180.  40. 300. 210.]: the network's answer is not finite" in caplog.text
    assert backend.look([image], [BOXES["left"]], 0.5) == [None]


@pytest.mark.parametrize("scale", [0.0, -0.9])
def test_who_is_not_in_front_of_the_camera_is_left_out_and_logged(backend, caplog, scale):
    def behind(network, batch):
        said = network(batch)
        said.camera[:, 0] = scale
        return said

    tampered(backend, behind)
    assert backend.detect([picture({"left": 0.6})]) == [[]]
    assert "Left out the person" in caplog.text


def test_looking_where_somebody_must_be(backend):
    image = picture({"left": 0.3, "right": 0.9})
    assert [pose.score for pose in backend.detect([image])[0]] == pytest.approx([0.9], abs=0.01)
    asked = BOXES["left"] + [5, -4, 8, 3]
    (found,) = backend.look([image], [asked], 0.2)
    assert found.score == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(found.box, BOXES["left"])
    assert backend.look([image], [asked], 0.4) == [None]
    # The crop is the one that was asked for.
    seen = []
    tampered(backend, lambda network, batch: seen.append(batch) or network(batch))
    backend.look([image], [asked], 0.2)
    centres, sides = crops.squares(asked[None])
    expected = crops.normalised([crops.crop(image, centres[0], sides[0])])
    np.testing.assert_allclose(seen[0].numpy(), expected)


def test_looking_takes_the_nearer_of_two(backend):
    image = picture({"left": 0.9, "right": 0.6})
    between = np.array([120.0, 30, 260, 215])
    (found,) = backend.look([image], [between], 0.1)
    assert found.score == pytest.approx(0.6, abs=0.01)


def test_looking_at_several_images_where_nobody_can_be(backend):
    image, other = picture({"left": 0.6}), picture({"right": 0.7}, 300, 400)
    nowhere = [np.array([400.0, 10, 500, 90]), np.array([50.0, 50, 50, 90]), np.full(4, np.nan)]
    found = backend.look(
        [image, image, other, image, image, image],
        [nowhere[0], BOXES["left"], BOXES["right"], BOXES["right"], *nowhere[1:]],
        0.1,
    )
    assert [pose and round(pose.score, 1) for pose in found] == [None, 0.6, 0.7, None, None, None]
    assert backend.look([], [], 0.5) == [] and backend.detect([]) == []


class Film:
    """A person who walks to the right, seen less well in one frame."""

    fps, size, times = 24.0, (320, 240), {}

    def __iter__(self):
        for frame in range(1, 13):
            image = np.zeros((240, 320, 3), np.uint8)
            image[20:220, 30 + 4 * frame : 130 + 4 * frame, 0] = 60 if frame == 7 else 250
            yield frame, image


def test_people_are_followed_through_a_film(settings, backend):
    """From the files to tracks: the frame that the detector missed is read where the person must have been."""
    defaults = config.load({"characters": {"ada": {"anny": {}}}}, Path())["tracking"]
    fill = defaults["fill"] | {"redetection_confidence": 0.1}
    followed = session.follow(Film(), backend, defaults | settings | {"fill": fill})
    (track,) = followed.tracks.values()
    assert track.frames.tolist() == list(range(1, 13))
    assert track.provenance.tolist() == ["redetected" if frame == 7 else "detected" for frame in range(1, 13)]
    np.testing.assert_allclose(track.box[6], [58, 20, 158, 220])
    assert track.joints.shape == (12, 23, 3) and np.isfinite(track.joints).all() and np.isfinite(track.pixels).all()


def test_precisions(settings, backend):
    images = [picture({"left": 0.6})]
    ((exact,),) = backend.detect(images)
    for precision in ("bf16", "fp16"):
        ((reduced,),) = make(settings, precision=precision).detect(images)
        difference = np.abs(reduced.rotations - exact.rotations).max()
        assert 0 < difference < 0.05


def test_compiled(settings, backend, monkeypatch):
    """As far as PyTorch takes the network apart: generating code takes a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager", fullgraph=True))
    images = [picture({"left": 0.6, "right": 0.9})]
    compiled = make(settings, compile=True)
    assert isinstance(compiled._network, torch._dynamo.OptimizedModule)
    ((right, left),) = compiled.detect(images)
    np.testing.assert_allclose(left.joints, backend.detect(images)[0][1].joints, atol=1e-4)


def test_devices(settings, monkeypatch):
    assert hmr2_pose.device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert hmr2_pose.device("auto") == torch.device("cpu")
    for name in ("cuda", "mps"):
        with pytest.raises(PoseFactoryError, match=rf"tracking\.hmr2\.device is {name}, .* use auto or cpu\.$"):
            make(settings, device=name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert hmr2_pose.device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hmr2_pose.device("auto") == torch.device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_gives_the_same(settings, backend):
    images = [picture({"left": 0.6, "right": 0.9})]
    for expected, found in zip(backend.detect(images)[0], make(settings, device="cuda").detect(images)[0], strict=True):
        np.testing.assert_allclose(found.joints, expected.joints, atol=1e-3)


def test_without_its_files(settings, tmp_path):
    with pytest.raises(PoseFactoryError, match="tracking.backend is hmr2, whose files are not all there"):
        make(settings, models=str(tmp_path))
    assert not models.missing(settings)
