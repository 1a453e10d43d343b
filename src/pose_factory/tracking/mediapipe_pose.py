"""MediaPipe Pose (BlazePose): one person, on the CPU, with the models that its wheel carries.

MediaPipe's solution has no use for the frame rate: its clock advances by 33,333 microseconds an image, so that it
smooths any film as if it had 30 images a second.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from pose_factory import tracking
from pose_factory.skeleton import JOINTS

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
FULL_MODEL = 1
"""The only landmark model in the wheel; the lite and heavy ones would be downloaded."""


class Tracker:
    """Follows the most prominent person; frames in which it finds nobody have no rows."""

    joints = [joint for joint in JOINTS if joint in LANDMARKS]

    def __init__(self, settings: dict) -> None:
        self._settings = settings

    def track(self, images: Iterable[tuple[int, np.ndarray]], fps: float) -> pd.DataFrame:
        """See pose_factory.tracking. Positions are BlazePose's world landmarks: metres, camera axes, midpoint of the
        hips."""
        from mediapipe.python.solutions.pose import Pose  # takes a second to load, which reading the config must not

        rows = []
        with Pose(
            static_image_mode=False,
            model_complexity=FULL_MODEL,
            min_detection_confidence=self._settings["min_detection_confidence"],
            min_tracking_confidence=self._settings["min_tracking_confidence"],
        ) as pose:
            for frame, image in images:
                found = pose.process(np.ascontiguousarray(image))
                if found.pose_landmarks is None:
                    continue
                height, width = image.shape[:2]
                flat = np.array([(p.x * width, p.y * height, p.visibility) for p in found.pose_landmarks.landmark])
                world = np.array([(p.x, p.y, p.z) for p in found.pose_world_landmarks.landmark])
                for joint in self.joints:
                    at = list(LANDMARKS[joint])
                    (u, v, confidence), position = flat[at].mean(axis=0), world[at].mean(axis=0)
                    rows.append((frame, 0, joint, u, v, *position, confidence, "detected"))
        return tracking.table(rows)
