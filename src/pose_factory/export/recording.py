"""The exact motion of a person, as Blender has it, and the file that keeps it for all exports."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_factory import tables
from pose_factory.errors import PoseFactoryError
from pose_factory.files import atomic
from pose_factory.skeleton import JOINTS


@dataclass(frozen=True)
class Recording:
    """One person over F frames: metres, Blender's world axes (right-handed, Z up).

    The bones are a tree with parents before their children, the first one its root. At rest the person faces -Y.
    """

    bones: list[str]
    """Names of the B bones, as the armature has them."""
    parents: np.ndarray
    """(B,) indices, -1 for the root."""
    heads: np.ndarray
    """(B, 3) of the bones at rest."""
    tails: np.ndarray
    """(B, 3) of the bones at rest."""
    turns: np.ndarray
    """(F, B, 3, 3) each bone's turn from the rest pose's axes into the world's."""
    places: np.ndarray
    """(F, B, 3) where the bones' heads are in the world."""
    joints: np.ndarray
    """(F, 23, 3) the canonical joints in the world, NaN where the rig has none."""


def write_recording(path: str | Path, people: Sequence[Recording], first: int, fps: float) -> None:
    """Write the people of one character, whose frames are numbered from `first`, as motion.npz (docs/biomechanics.md).
    Raises PoseFactoryError where it cannot be written."""
    about = {"fps": fps, "joints": JOINTS, "bones": [person.bones for person in people]}
    content = {
        "about": json.dumps(tables.RECORDING | about),
        "frame": np.arange(first, first + len(people[0].joints), dtype=np.int32),
    }
    for index, person in enumerate(people):
        for name, kind in _KINDS.items():
            content[f"{name}_{index}"] = getattr(person, name).astype(kind)
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **content)


def read_recording(path: str | Path, person: int) -> tuple[Recording, int, float]:
    """One of the people that `write_recording` wrote, their first frame's number, and the frames a second.

    Raises PoseFactoryError if there is no such person, or the file is missing, damaged, or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["schema"] != tables.RECORDING["schema"]:
                raise PoseFactoryError(f"{path} is of another version of this program: delete it and make it again.")
            bones = about["bones"]
            if person >= len(bones):
                raise PoseFactoryError(f"{path} has no person {person}: the last one is {len(bones) - 1}.")
            arrays = {name: file[f"{name}_{person}"] for name in _KINDS}
            return Recording(bones=bones[person], **arrays), int(file["frame"][0]), float(about["fps"])
    except FileNotFoundError:
        raise PoseFactoryError(f"{path} is not there: make it with snakemake --cores all {path}.") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise PoseFactoryError(f"{path} holds no motion (is it damaged?): delete it and make it again.") from error


# Joints in double precision, as in ground_truth.parquet; bones in Blender's own, single.
_KINDS = {
    "parents": np.int32,
    "heads": np.float32,
    "tails": np.float32,
    "turns": np.float32,
    "places": np.float32,
    "joints": np.float64,
}
