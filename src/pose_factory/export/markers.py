"""The canonical joints as markers of motion capture: TRC, which OpenSim reads, and C3D.

Millimetres. A rig's missing joints are left out. Both files have every frame of the motion, whatever was filmed.
"""

import errno
import os
from pathlib import Path

import ezc3d
import numpy as np

from pose_factory.errors import PoseFactoryError
from pose_factory.skeleton import JOINTS

OPENSIM = np.array([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]])
"""From Blender's world into OpenSim's axes: X forward, Y up, Z to the right of who faces -Y."""
LAST_FRAME = 65535
"""C3D's header counts frames in 16 bits."""


def trc(joints: np.ndarray, first: int, fps: float, file: str) -> str:
    """The content of a TRC file called `file`: the joints (F, 23, 3), metres, Blender's world, as markers in OpenSim's
    axes, their frames numbered from `first`, `fps` a second, and their times from 0.

    Tab-separated, as OpenSim's TRCFileAdapter reads it (and writes it, but for the tabs at the ends of lines).
    """
    names, markers = _annotated(joints)
    markers = 1000 * markers @ OPENSIM.T
    count = len(markers)
    facts = {
        "DataRate": f"{fps:.9g}",
        "CameraRate": f"{fps:.9g}",
        "NumFrames": count,
        "NumMarkers": len(names),
        "Units": "mm",
        "OrigDataRate": f"{fps:.9g}",
        "OrigDataStartFrame": first,
        "OrigNumFrames": count,
    }
    axes = [f"{axis}{number}" for number in range(1, len(names) + 1) for axis in "XYZ"]
    rows = [
        [first + index, f"{index / fps:.9f}", *(f"{value:.5f}" for value in row)]
        for index, row in enumerate(markers.reshape(count, -1))
    ]
    lines = [
        ["PathFileType", 4, "(X/Y/Z)", file],
        list(facts),
        list(facts.values()),
        ["Frame#", "Time", "\t\t\t".join(names)],
        ["", "", *axes],
        [],
        *rows,
    ]
    return "\n".join("\t".join(map(str, line)) for line in [*lines, []])


def write_c3d(path: Path, joints: np.ndarray, first: int, fps: float) -> None:
    """Write the joints (F, 23, 3), metres, Blender's world, as the points of a C3D file in the same axes, which it says
    are X to the right and Z up on the screen.

    Frames are numbered from `first`, but from 1, C3D's lowest, where that is below. Raises PoseFactoryError for more
    frames than C3D can number, and OSError, as a full disk does, if not all could be written, which ezc3d does not
    notice.
    """
    names, markers = _annotated(joints)
    first = max(first, 1)
    last = first + len(markers) - 1
    if last > LAST_FRAME:
        raise PoseFactoryError(
            f"C3D numbers frames up to {LAST_FRAME}, and this motion goes to {last}: leave c3d out of export.motions."
        )
    points = np.ones((4, len(names), len(markers)))
    points[:3] = 1000 * markers.T
    file = ezc3d.c3d()
    file["header"]["points"]["first_frame"] = first - 1  # of the file's frames, which ezc3d counts from 0
    file.add_parameter("POINT", "LABELS", names)
    file.add_parameter("POINT", "DESCRIPTIONS", names)
    file.add_parameter("POINT", "UNITS", ["mm"])
    file.add_parameter("POINT", "RATE", [fps])
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    file["data"]["points"] = points
    file.write(str(path))
    data = path.read_bytes()
    start = 512 * (int.from_bytes(data[16:18], "little") - 1)  # the header's ninth word: the block of the first point
    whole = 0 < start <= len(data) - 4 * points.size  # four floats a point
    if not whole:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _annotated(joints: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The names of the joints that this rig has, and their places (F, M, 3)."""
    known = np.isfinite(joints).all(axis=(0, 2))
    return [name for name, there in zip(JOINTS, known, strict=True) if there], joints[:, known]
