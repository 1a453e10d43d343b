"""Motions for a rigged body by name: those of `standing`, and the library's, which are data."""

import difflib

from pose_factory.bodies import library, performing
from pose_factory.bodies.anny_body import Body
from pose_factory.bodies.kinematics import Motion, continuous, forward_kinematics
from pose_factory.bodies.standing import STANDING
from pose_factory.errors import PoseFactoryError

__all__ = ["STANDING", "Motion", "animate", "continuous", "forward_kinematics", "names"]


def names() -> list[str]:
    """All motions there are."""
    return [*STANDING, *library.scores()]


def animate(name: str, body: Body, frames: int, fps: float) -> Motion:
    """The motion called `name` for `body`: `frames` frames at `fps` frames a second.

    Of a cyclic motion whole cycles are fitted when there is time for one, so that the last frame leads on to the first;
    one that ends elsewhere than it begins (a fall) plays at its natural speed and holds its last pose.

    Raises PoseFactoryError for an unknown motion, or without a frame or a positive rate.
    """
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"valid ones are {', '.join(names())}."
        raise PoseFactoryError(f"Unknown motion {name!r}: {hint}")
    if frames < 1 or fps <= 0:
        raise PoseFactoryError(f"Motion {name!r} has {frames} frames at {fps} fps: both must be positive.")
    if name in STANDING:
        return STANDING[name](body, frames, fps)
    return performing.perform(library.scores()[name], body, frames, fps)
