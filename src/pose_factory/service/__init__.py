"""The pose service: the tracker over HTTP, live, for many sessions at once.

Three layers. `app` speaks HTTP and knows nothing of poses. `engine` queues requests, keeps each session's memory as
bytes and lends it, with a request, to one of its worker processes. `worker` is what runs in these: it holds the model,
answers one request from a session's memory, and gives the memory back. So any worker serves any session, and one that
hangs or dies takes no more with it than the request that it was at.
"""

from dataclasses import dataclass, field

from pose_factory.errors import PoseFactoryError

DEFAULT_SESSION = "default"
"""The session of requests that name none."""
FPS = 30.0
"""Frames a second that a session's footage is taken to have where its requests do not say."""


@dataclass(frozen=True)
class Request:
    """One image to find the pose in."""

    image: bytes
    """A file as `images.read` gives it: checked to be a JPEG, PNG or WebP within the limits, not yet decoded."""
    frame_number: int
    """At least 0."""
    session_id: str = DEFAULT_SESSION
    body: bool = True
    """Whether the body is wanted, too: its joints, angles and mesh; `/pose` does without."""
    visualize: bool = False
    fps: float = FPS
    """Of the footage; the first request of a sequence decides."""


@dataclass(frozen=True)
class Answer:
    """What becomes of a request."""

    status: int
    """As in HTTP: 200, 400 for an image that cannot be decoded, 500 for a failure of the model or its process, 503
    where the service closed first, 504 where the time was up."""
    body: bytes
    """The JSON to send: the envelope or, unless the status is 200, {"frame_number", "error"}."""
    stats: "Stats"


@dataclass(frozen=True)
class Stats:
    """What there is to count and to log of an answer."""

    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took, by name: queue (waiting for a worker), decode, detect, follow (with looking again and
    smoothing), fit, encode. A stage that was not reached is missing."""
    source: str | None = None
    """One of tracking.people.PROVENANCES; None where there is no pose."""
    confidence: float = 0.0
    """0 to 1: the answer's tracking_confidence."""
    new_sequence: bool = False
    """Whether it was the first of a sequence."""
    repeat: bool = False
    """Whether the frame had been answered before, so that it should not be counted as a frame twice."""


class Full(PoseFactoryError):
    """There is no room for one more request, film or session: try again after `retry_after` whole seconds."""

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Closing(PoseFactoryError):
    """The service is shutting down and takes nothing new."""
