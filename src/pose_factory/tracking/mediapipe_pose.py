"""MediaPipe's pose networks (BlazePose) on the CPU: everybody they find, with the models that its wheel carries."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pose_factory.association.forecast import hold_last
from pose_factory.skeleton import JOINTS
from pose_factory.tracking import appearance, articulation, camera
from pose_factory.tracking.blazepose import Landmarks, Networks, Region
from pose_factory.tracking.people import Pose, fault, same_person

LANDMARKS = {
    "nose": (0,),
    "left_eye": (2,),
    "right_eye": (5,),
    "left_ear": (7,),
    "right_ear": (8,),
    "left_shoulder": (11,),
    "right_shoulder": (12,),
    "left_elbow": (13,),
    "right_elbow": (14,),
    "left_wrist": (15,),
    "right_wrist": (16,),
    "left_hip": (23,),
    "right_hip": (24,),
    "left_knee": (25,),
    "right_knee": (26,),
    "left_ankle": (27,),
    "right_ankle": (28,),
    "pelvis": (23, 24),
    "neck": (11, 12),
    "left_foot": (31,),
    "right_foot": (32,),
}
"""BlazePose's landmarks for each canonical joint: their mean. It has none for the spine or the top of the head."""
BOX_MARGIN = 0.1
"""Landmarks end at the eyes and the ankles: a person's box is theirs, larger by this fraction of it on each side."""

PAINT = 128
"""Grey, 0 to 255, over people who have been found."""

log = logging.getLogger(__name__)


class Backend:
    """See pose_factory.tracking. Joint positions are BlazePose's world landmarks."""

    joints = [joint for joint in JOINTS if joint in LANDMARKS]
    parametrisation = "the torso's frame, then swings from rest of each bone; bone lengths in metres (articulation)"
    predict_pose = staticmethod(hold_last)

    def __init__(self, settings: dict, threads: int) -> None:
        self._least = settings["mediapipe"]["detection_confidence"], settings["mediapipe"]["pose_confidence"]
        self._pool = ThreadPoolExecutor(threads)
        self._own = threading.local()

    def detect(self, images: Sequence[np.ndarray], least: float | None = None) -> list[list[Pose]]:
        """Everybody in each image, the surest first; with `least`, all of whom both networks are so sure, in place of
        what the settings say."""
        limits = self._least if least is None else (least, least)
        return list(self._pool.map(lambda image: self._detect_one(image, *limits), images))

    def look(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], threshold: float) -> list[Pose | None]:
        """The person that each box is about, if the landmark network's score reaches `threshold`."""
        return list(self._pool.map(lambda image, box: self._look_once(image, box, threshold), images, boxes))

    def assemble(self, rotations: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """(..., J, 3) joints of rotations (..., K, 3, 3) and bone lengths (..., S)."""
        return articulation.compose(rotations, shape, self.joints)

    def _networks(self) -> Networks:
        if not hasattr(self._own, "networks"):
            self._own.networks = Networks()
        return self._own.networks

    def _detect_one(self, image: np.ndarray, detection: float, pose: float) -> list[Pose]:
        """The detector tends to see the largest person alone, so it is asked again with those it found painted over."""
        found = self._detect_in(image, image, detection, pose)
        if found:
            rest = image.copy()
            for person in found:
                left, top, right, bottom = np.clip(person.box, 0, None).astype(int)
                rest[top:bottom, left:right] = PAINT
            found += self._detect_in(rest, image, detection, pose)
        return _different(found)

    def _detect_in(self, picture: np.ndarray, image: np.ndarray, detection: float, pose: float) -> list[Pose]:
        """The poses, in `image`, of the people whom the detector sees in `picture`."""
        networks = self._networks()
        landmarks = [networks.landmarks(image, region) for region, _ in networks.detect(picture, detection)]
        sure = [found for found in landmarks if found.score >= pose]
        return [person for found in sure if (person := self._pose(image, found))]

    def _look_once(self, image: np.ndarray, box: np.ndarray, threshold: float) -> Pose | None:
        """The box gives no more than an upright square, so the landmarks found there say where to look again."""
        low, high = np.asarray(box, dtype=float).reshape(2, 2)
        if not (high > low).all():
            return None
        networks = self._networks()
        first = networks.landmarks(image, Region((low + high) / 2, 1.25 * float((high - low).max()), 0.0))
        if not first.score >= threshold:
            return None
        second = networks.landmarks(image, first.region)
        return self._pose(image, second) if second.score >= threshold else None

    def _pose(self, image: np.ndarray, found: Landmarks) -> Pose | None:
        """None, which is logged, where the networks say what cannot be."""
        if not all(np.isfinite(values).all() for values in (found.pixels, found.world, found.visibility, found.score)):
            log.warning("Left out a person: what the networks say of them is not finite.")
            return None
        pixels = _joints(found.pixels, self.joints)
        world = _joints(found.world, self.joints)
        confidence = _joints(found.visibility, self.joints)
        hips = [self.joints.index("left_hip"), self.joints.index("right_hip")]
        world = world - world[hips].mean(axis=0)
        height, width = image.shape[:2]
        rotations, lengths = articulation.decompose(world[None], self.joints)
        low, high = found.pixels.min(axis=0), found.pixels.max(axis=0)
        margin = BOX_MARGIN * (high - low)
        pose = Pose(
            box=np.concatenate([low - margin, high + margin]),
            score=found.score,
            pixels=pixels,
            joints=world,
            confidence=confidence,
            translation=camera.translation(world, pixels, np.maximum(confidence, 0.01), width, height),
            rotations=rotations[0],
            shape=lengths[0],
            appearance=appearance.describe(image, pixels, self.joints),
        )
        if reason := fault(pose):
            log.warning("Left out the person in the box %s: %s.", pose.box.round(1), reason)
            return None
        return pose


class PersonDetector:
    """People's boxes, for a backend that has no detector of its own."""

    def __init__(self, settings: dict, threads: int) -> None:
        self._backend = Backend(settings, threads)

    def boxes(self, images: Sequence[np.ndarray], least: float | None = None) -> list[list[tuple[np.ndarray, float]]]:
        """For each image the boxes (4,) of everybody in it, x_min, y_min, x_max, y_max in pixels, with a score from 0
        to 1; with `least`, of everybody who is so sure, in place of what the settings say."""
        return [[(pose.box, pose.score) for pose in poses] for poses in self._backend.detect(images, least)]


def _joints(landmarks: np.ndarray, joints: list[str]) -> np.ndarray:
    return np.array([landmarks[list(LANDMARKS[joint])].mean(axis=0) for joint in joints])


def _different(poses: list[Pose]) -> list[Pose]:
    """The surest of those that are one person, found twice."""
    kept: list[Pose] = []
    for pose in sorted(poses, key=lambda pose: -pose.score):
        if not any(same_person(pose, other) for other in kept):
            kept.append(pose)
    return kept
