"""Reading BVH, the text that most motion capture comes as.

A joint's channels may come in any order, and with positions of their own, which replace its offset; End Sites may be
missing. Angles are degrees, turned about the joint's own axes in the order in which they are named.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pose_factory import rigs
from pose_factory.errors import PoseFactoryError
from pose_factory.frames import usual_rate
from pose_factory.retargeting.recording import Recording, record

SLOWEST, FASTEST = 1, 1000
"""Frames a second that a file may have."""
CHANNEL = re.compile(r"([XYZ])(position|rotation)", re.IGNORECASE)


@dataclass
class _Joint:
    name: str
    parent: int
    offset: list[float] = field(default_factory=list)
    channels: list[tuple[int, str]] = field(default_factory=list)  # axis 0..2, and "position" or "rotation"


def read(path: Path) -> Recording:
    """The motion in a BVH file, whatever its unit and whichever its axis up.

    Raises PoseFactoryError, with the file's name, if it is damaged, or its skeleton none of the rigs.
    """
    try:
        names, parents, offsets, turned, moved, fps = parse(path.read_text(encoding="utf-8-sig", errors="replace"))
        match = rigs.detect(names)
        rest, heads, turns = np.zeros((len(names), 3)), np.empty_like(moved), np.empty_like(turned)
        for joint, parent in enumerate(parents):
            if parent < 0:
                heads[:, joint], turns[:, joint] = moved[:, joint], turned[:, joint]
                continue
            rest[joint] = rest[parent] + offsets[joint]
            heads[:, joint] = heads[:, parent] + (turns[:, parent] @ moved[:, joint, :, None])[..., 0]
            turns[:, joint] = turns[:, parent] @ turned[:, joint]
        return record(match, fps, names, rest, heads, turns)
    except PoseFactoryError as error:
        raise PoseFactoryError(f"The motion file {path}: {str(error).removesuffix('.')}.") from error


def parse(text: str) -> tuple[list[str], list[int], np.ndarray, np.ndarray, np.ndarray, float]:
    """The J joints of a BVH file, parents first: their names, parents (-1 for the root) and offsets (J, 3) from them,
    in each of N frames their turn (N, J, 3, 3) and place (N, J, 3) in their parent's axes, and the frame rate: a usual
    one where the Frame Time is that of one but for rounding.

    Raises PoseFactoryError where the text is not of that form.
    """
    header, *motion = re.split(r"^\s*MOTION\b", text, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    if not header.lstrip().upper().startswith("HIERARCHY") or not motion:
        raise PoseFactoryError("it is not a BVH file, or cut short: it has no HIERARCHY followed by MOTION")
    joints = _hierarchy(header)
    names = [joint.name for joint in joints]
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise PoseFactoryError(f"it has two joints called {twice}; rename one")
    times = re.match(r"\s*Frames:\s*(\d+)\s*Frame\s+Time:\s*(\S+)", motion[0], re.IGNORECASE)
    seconds = _number(times[2], "its Frame Time") if times else 0.0
    if not times or not int(times[1]) or seconds <= 0:
        raise PoseFactoryError("its MOTION does not begin with a number of Frames and a Frame Time, both above zero")
    if not SLOWEST <= 1 / seconds <= FASTEST:
        raise PoseFactoryError(
            f"its Frame Time of {times[2]} s makes {1 / seconds:.4g} frames a second, and only {SLOWEST} to {FASTEST} "
            "are possible; correct it"
        )
    width = sum(len(joint.channels) for joint in joints)
    if not width:
        raise PoseFactoryError("none of its joints has CHANNELS, so it holds no motion; export it with them")
    words = motion[0][times.end() :].split()
    if len(words) != int(times[1]) * width:
        needed = f"{times[1]} frames of {width} channels need {int(times[1]) * width}"
        raise PoseFactoryError(f"its MOTION has {len(words)} numbers where {needed}; export or copy it again")
    try:
        values = np.array(words, float).reshape(-1, width)
    except ValueError as error:
        raise PoseFactoryError(f"its MOTION holds something else than numbers ({error})") from error
    if not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0, 0]) + 1
        raise PoseFactoryError(f"its frame {frame} holds a number that is not finite; export it again")
    offsets = np.array([joint.offset for joint in joints])
    turned = np.broadcast_to(np.eye(3), (len(values), len(joints), 3, 3)).copy()
    moved = np.broadcast_to(offsets, (len(values), len(joints), 3)).copy()
    column = 0
    for index, joint in enumerate(joints):
        for axis, kind in joint.channels:
            if kind == "position":
                moved[:, index, axis] = values[:, column]
            else:
                about = np.eye(3)[axis] * np.radians(values[:, column, None])
                turned[:, index] = turned[:, index] @ Rotation.from_rotvec(about).as_matrix()
            column += 1
    return names, [joint.parent for joint in joints], offsets, turned, moved, usual_rate(1 / seconds)


def _hierarchy(header: str) -> list[_Joint]:
    joints: list[_Joint] = []
    open_: list[int | None] = []  # the joints, or None for an End Site, whose braces are open
    begun: int | None = None  # whose brace comes next
    for line in re.sub(r"([{}])", r"\n\1\n", header).splitlines():
        word, _, rest = line.strip().replace("\t", " ").partition(" ")
        match word.upper():
            case "ROOT" | "JOINT":
                if word.upper() == "ROOT" and joints:
                    raise PoseFactoryError("it holds several skeletons; export that of one person")
                joints.append(_Joint(rest.strip(), open_[-1] if open_ and open_[-1] is not None else -1))
                if joints[-1].parent < 0 and len(joints) > 1 or not joints[-1].name:
                    raise PoseFactoryError(f"its HIERARCHY is damaged at '{line.strip()}'")
                begun = len(joints) - 1
            case "END":
                begun = None
            case "{":
                open_.append(begun)
            case "}":
                if not open_:
                    raise PoseFactoryError("its HIERARCHY closes more braces than it opens")
                open_.pop()
            case "OFFSET" if open_ and open_[-1] is not None:
                joint = joints[open_[-1]]
                joint.offset = [_number(value, f"the OFFSET of {joint.name}") for value in rest.split()]
            case "CHANNELS" if open_ and open_[-1] is not None:
                joint, (count, *named) = joints[open_[-1]], rest.split() or [""]
                found = [CHANNEL.fullmatch(name) for name in named]
                if not all(found) or count != str(len(found)):
                    raise PoseFactoryError(f"the CHANNELS of {joint.name} are '{rest.strip()}', which cannot be read")
                joint.channels = [("XYZ".index(one[1].upper()), one[2].lower()) for one in found if one]
    wrong = next((joint for joint in joints if len(joint.offset) != 3), None)
    if not joints or open_ or wrong:
        what = f"{wrong.name} has no OFFSET of three numbers" if wrong else "it does not close all its braces"
        raise PoseFactoryError(f"its HIERARCHY is damaged: {what if joints else 'it has no ROOT'}")
    return joints


def _number(word: str, what: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PoseFactoryError(f"{what} is '{word}', which is not a number")
    return value
