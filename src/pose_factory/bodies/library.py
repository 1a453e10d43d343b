"""The motion library: key poses and contacts as data, one JSON file per family in the folder `motions`.

A motion is

    "squat_jump": {
      "about": "One line.",
      "seconds": 2.0,                        its natural duration, for an adult
      "ends": "loop" | "hold",               whether its end leads on to its beginning, or its last pose is held
      "keys": [                              what a key does not name goes smoothly through it
        {"at": 0.0, "pelvis": {"pitch": 5}, "arms": {"flex": 20}, "left_leg": {"knee": 40}}, ...],
      "contacts": {                          what carries weight, always ("all") or from one second to another
        "feet": "all", "left_hand": [[0.5, 1.2]]},
      "touch": {"right_palm": {"mouth": [[0.9, 1.5]]}},    a hand that is brought to a place of the body
      "balance": true,                       the centre of mass is kept above what carries it: for whatever is slow
      "alternate": true,                     the right side does half a motion later what the left does
      "seat": 0.5,                           height of what a contact `seat` rests on, in lengths of the leg
      "extreme": true                        only the limber can do it: joints may turn as far as theirs
    }

and a pose is a motion with one key, which breathes. `anatomy` says what the angles are, `contact` what can touch.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np

from pose_factory.bodies.anny_body import SIDES
from pose_factory.errors import PoseFactoryError

FOLDER = Path(__file__).with_name("motions")
SCHEMA_PATH = Path(__file__).with_name("motion.schema.json")


@dataclass(frozen=True)
class Score:
    """What is written down of a motion. keys: (second, {channel: degrees}) in order; contacts {part: [(from, to)]}
    seconds, the whole of it for "all"."""

    name: str
    family: str
    about: str
    seconds: float
    loops: bool
    keys: list[tuple[float, dict[str, float]]]
    contacts: dict[str, list[tuple[float, float]]]
    touches: list[tuple[str, str, list[tuple[float, float]]]]
    balance: bool
    seat: float
    extreme: bool

    @property
    def held(self) -> bool:
        """Whether it is a pose."""
        return len(self.keys) == 1


@cache
def scores() -> dict[str, Score]:
    """{name: score} of the whole library, family by family."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        for name, written in json.loads(path.read_text())["motions"].items():
            if name in found:
                raise PoseFactoryError(f"{path} has a motion {name}, as has another file; rename one.")
            found[name] = read(name, path.stem, written)
    return found


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))


def read(name: str, family: str, written: dict) -> Score:
    """The score of one motion as its file has it.

    Raises PoseFactoryError for what the schema does not know, for a part or an angle that does not exist, for an angle
    beyond what anatomy allows, and for times that are reversed or beyond its duration.
    """
    # Here, because the names of motions are wanted where nothing heavy may be imported.
    from pose_factory.bodies.anatomy import CHANNELS, EXTREME, RANGES
    from pose_factory.bodies.contact import PARTS, TOUCHABLE

    if error := jsonschema.exceptions.best_match(_validator().iter_errors(written)):
        where = ".".join(str(key) for key in error.absolute_path)
        raise PoseFactoryError(f"Motion {name} does not fit its schema{where and f' at {where}'}: {error.message}.")
    seconds = float(written.get("seconds", 4.0))
    keys = [(float(key["at"]) if "at" in key else 0.0, _channels(key)) for key in written["keys"]]

    def timed(spans) -> list[tuple[float, float]]:
        return [(0.0, seconds)] if spans == "all" else [(float(start), float(end)) for start, end in spans]

    loops = written.get("ends", "loop") == "loop"
    contacts = {one: timed(spans) for part, spans in written["contacts"].items() for one in _both(part)}
    touches = [
        (hand, place, timed(spans))
        for hand, places in written.get("touch", {}).items()
        for place, spans in places.items()
    ]
    spans = [(part, *span) for part, times in contacts.items() for span in times]
    for what, start, end in spans + [(hand, *span) for hand, _, times in touches for span in times]:
        if loops and not (start < end <= start + seconds and abs(start) <= seconds):
            rule = f"last {seconds:g} seconds at most and begin within {seconds:g} of the motion's"
            raise PoseFactoryError(f"Motion {name} has {what} from {start:g} to {end:g}; it must {rule}.")
        if not loops and not 0 <= start < end <= seconds:
            rule = f"go forwards, from 0 to {seconds:g} seconds"
            raise PoseFactoryError(f"Motion {name} has {what} from {start:g} to {end:g}; it must {rule}.")
    if written.get("alternate"):
        keys, contacts = _alternated(keys, contacts, seconds)
    for wrong in sorted({channel for _, key in keys for channel in key} - set(CHANNELS)):
        raise PoseFactoryError(f"Motion {name} has the angle {wrong!r}; there are {', '.join(CHANNELS)}.")
    ranges = RANGES | (EXTREME if written.get("extreme") else {})
    for channel, degrees in [item for _, key in keys for item in key.items()]:
        low, high = ranges[channel.removeprefix("left_").removeprefix("right_")]
        if not low <= degrees <= high:
            raise PoseFactoryError(f"Motion {name} has {channel} at {degrees:g}; it goes from {low} to {high} degrees.")
    for wrong in sorted(set(contacts) - set(PARTS)):
        raise PoseFactoryError(f"Motion {name} has the contact {wrong!r}; there are {', '.join(PARTS)}.")
    for wrong in sorted({point for hand, place, _ in touches for point in (hand, place)} - set(TOUCHABLE)):
        raise PoseFactoryError(f"Motion {name} touches {wrong!r}; there are {', '.join(TOUCHABLE)}.")
    times = [at for at, _ in keys]
    if times != sorted(set(times)) or times[0] < 0 or times[-1] > seconds:
        raise PoseFactoryError(f"Motion {name}: its keys must follow each other from 0 to {seconds} seconds.")
    return Score(
        name=name,
        family=family,
        about=written["about"],
        seconds=seconds,
        loops=loops,
        keys=keys,
        contacts=contacts,
        touches=touches,
        balance=written.get("balance", False),
        seat=float(written.get("seat", 0.0)),
        extreme=written.get("extreme", False),
    )


def curves(score: Score, times: np.ndarray, rest: dict[str, float]) -> dict[str, np.ndarray]:
    """{channel: (N,) degrees} at `times` (N,) seconds; `rest` are the channels that no key names.

    Between keys a curve eases in and out wherever it turns back and never overshoots: cubics after Fritsch and Carlson
    (1980), smoothed a little so that joints do not start with a jerk.
    """
    from scipy.interpolate import PchipInterpolator

    drawn = {}
    grid = np.arange(-3 * SMOOTH, 3 * SMOOTH + 1e-9, SMOOTH / 4)
    weights = np.exp(-0.5 * (grid / SMOOTH) ** 2)
    for channel, value in rest.items():
        keys = [(at, key[channel]) for at, key in score.keys if channel in key]
        if len(keys) < 2:
            drawn[channel] = np.full(len(times), float(keys[0][1] if keys else value))
            continue
        at, degrees = np.array(keys, float).T
        if score.loops:
            whole = at[-1] >= score.seconds  # the last key is the first one again
            at, degrees = (at[:-1], degrees[:-1]) if whole else (at, degrees)
            turns = score.seconds * np.arange(-2, 3)
            at, degrees = (turns[:, None] + at).ravel(), np.tile(degrees, len(turns))
            if whole and keys[-1][1] != keys[0][1]:  # somersaults end a whole turn further
                degrees = degrees + np.repeat((keys[-1][1] - keys[0][1]) * np.arange(-2, 3), len(keys) - 1)
            wanted = times[:, None] + grid
        else:
            wanted = np.clip(times[:, None] + grid, at[0], at[-1])
        if len(at) < 2:
            drawn[channel] = np.full(len(times), degrees[0])
        else:
            drawn[channel] = PchipInterpolator(at, degrees)(wanted) @ weights / weights.sum()
    return drawn


SMOOTH = 0.03  # seconds


def _both(part: str) -> list[str]:
    return [f"{side}_{PLURALS[part]}" for side in SIDES] if part in PLURALS else [part]


PLURALS = {
    "arms": "arm",
    "legs": "leg",
    "feet": "foot",
    "toes": "toes",
    "heels": "heel",
    "balls": "ball",
    "shoulders": "shoulder",
    "hips": "hip",
    "hands": "hand",
    "knees": "knee",
    "elbows": "elbow",
    "forearms": "forearm",
    "shins": "shin",
    "insteps": "instep",
    "fingertips": "fingertips",
}


def _channels(key: dict) -> dict[str, float]:
    """{channel: degrees} of a key; what it says of one side counts more than what it says of both."""
    groups = sorted((group for group in key if group != "at"), key=lambda group: group not in PLURALS)
    return {
        f"{one}.{angle}": float(degrees)
        for group in groups
        for one in _both(group)
        for angle, degrees in key[group].items()
    }


def _alternated(keys, contacts, seconds: float):
    """The keys and contacts of the left side, with the right side's half a motion later."""
    later = {}
    for at, key in keys:
        left = {channel.replace("left_", "right_"): v for channel, v in key.items() if channel.startswith("left_")}
        later.setdefault(round((at + seconds / 2) % seconds, 9), {}).update(left)
        later.setdefault(round(at % seconds, 9), {}).update(key)
    spans = {}
    for part, times in contacts.items():
        spans.setdefault(part, times)
        if part.startswith("left_"):
            spans[part.replace("left_", "right_")] = [(a + seconds / 2, b + seconds / 2) for a, b in times]
    return sorted(later.items()), spans
