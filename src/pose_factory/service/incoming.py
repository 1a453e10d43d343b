"""What clients send, as JSON: checked, and told in one sentence where it is wrong."""

from collections.abc import Iterator
from typing import Any

import orjson

from pose_factory.errors import PoseFactoryError
from pose_factory.service import DEFAULT_SESSION, FPS, Request, images
from pose_factory.service.settings import Settings

MOST_FRAMES = 2**53 - 1
"""The largest frame number: the largest whole number that every JSON reader keeps exact."""
LONGEST_SESSION = 128
"""Characters of a session's name."""
FASTEST = 1000
"""Frames a second."""


class BadInput(PoseFactoryError):
    """A body that is not what the contract asks for; `frame_number` is what it says, where that can be read."""

    def __init__(self, sentence: str, frame_number: int | None = None) -> None:
        super().__init__(sentence)
        self.frame_number = frame_number


def json_object(body: bytes) -> dict:
    """The JSON object that `body` is. Raises BadInput."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:  # also of nesting that is too deep
        raise BadInput(f"The body is no JSON: {error.msg} at character {error.pos}.") from error
    return _object(content, "The body")


def pose_request(content: dict, settings: Settings, body: bool, shared: dict | None = None) -> Request:
    """The request that the JSON object `content` makes, where `shared` has the optional fields for those that it leaves
    out; unknown fields are passed over. Raises BadInput."""
    content = {**(shared or {}), **{key: value for key, value in content.items() if value is not None}}
    frame_number = _frame_number(content)
    try:
        return Request(
            image=_image(content, settings),
            frame_number=frame_number,
            session_id=_session(content),
            body=body,
            visualize=_flag(content, "visualize"),
            fps=_fps(content),
        )
    except PoseFactoryError as error:
        raise BadInput(str(error), frame_number) from error


def batch(content: dict, settings: Settings) -> Iterator[Request | BadInput]:
    """The frames of a batch one after the other, in its place the error where one is wrong. Raises BadInput, at once,
    where it is no batch.

    `session_id`, `fps` and `visualize` beside `frames` hold for all frames that do not say otherwise.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise BadInput("frames is missing or no list with something in it; send objects like those for /pose/hybrid.")
    if len(frames) > settings.max_batch:
        raise BadInput(f"frames has {len(frames)} entries, but a batch may have {settings.max_batch}; send several.")
    shared = {key: content[key] for key in ("session_id", "fps", "visualize") if content.get(key) is not None}
    _session(shared), _fps(shared), _flag(shared, "visualize")
    return (_frame(index, frame, settings, shared) for index, frame in enumerate(frames))


def _frame(index: int, frame: Any, settings: Settings, shared: dict) -> Request | BadInput:
    try:
        return pose_request(_object(frame, f"frames[{index}]"), settings, True, shared)
    except BadInput as error:
        return error


def _object(value: Any, what: str) -> dict:
    if not isinstance(value, dict):
        raise BadInput(f"{what} is {_kind(value)}, but must be a JSON object.")
    return value


def _frame_number(content: dict) -> int:
    number = content.get("frame_number")
    if number is None:
        raise BadInput("frame_number is missing; count the frames of a video from 0.")
    if isinstance(number, float) and number.is_integer():  # JSON knows no difference
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_FRAMES:
        raise BadInput(f"frame_number is {_kind(number)}, but must be a whole number from 0 to {MOST_FRAMES}.")
    return number


def _image(content: dict, settings: Settings) -> bytes:
    text = content.get("image_base64")
    if text is None:
        raise BadInput("image_base64 is missing; send a JPEG, PNG or WebP file in base64.")
    if not isinstance(text, str):
        raise BadInput(f"image_base64 is {_kind(text)}, but must be text: a JPEG, PNG or WebP file in base64.")
    return images.read(text, settings.max_image_bytes, settings.max_pixels)


def _session(content: dict) -> str:
    name = content.get("session_id", DEFAULT_SESSION)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_SESSION:
        raise BadInput(f"session_id is {_kind(name)}, but must be text of 1 to {LONGEST_SESSION} characters.")
    return name


def _flag(content: dict, key: str) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        raise BadInput(f"{key} is {_kind(value)}, but must be true or false.")
    return value


def _fps(content: dict) -> float:
    fps = content.get("fps", FPS)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= FASTEST:
        raise BadInput(f"fps is {_kind(fps)}, but must be a number above 0 and at most {FASTEST}.")
    return float(fps)


def _kind(value: Any) -> str:
    """What `value` is, without what it holds: it may be long, or nobody else's business."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return f"{value:.17g}"
        case str():
            return f"text of {len(value)} characters"
        case list():
            return "a list"
        case _:
            return "an object"
