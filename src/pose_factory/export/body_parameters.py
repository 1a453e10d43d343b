"""The motion of a described body as parameters of the Anny model, from which `anny` makes every vertex again."""

import json
from pathlib import Path

import numpy as np

from pose_factory import tables
from pose_factory.bodies.anny_body import parameters
from pose_factory.errors import PoseFactoryError
from pose_factory.export.recording import Recording
from pose_factory.files import atomic
from pose_factory.geometry.kinematics import local_turns

RIGID = 1e-3
"""Metres by which bones may be off where they turn about their parents alone."""


def write_body(path: str | Path, recording: Recording, anny: dict, first: int, fps: float) -> None:
    """Write the body of the config's description `anny` in the motion `recording`, whose frames are numbered from
    `first`, `fps` a second (docs/biomechanics.md).

    Raises PoseFactoryError where its bones move in their parents, which Anny's do not, or it cannot be written.
    """
    local = local_turns(recording.turns, recording.parents)
    _check_rigid(recording)
    phenotype, changes = parameters(anny["phenotype"], anny.get("local"))
    about = tables.BODY_PARAMETERS | {"fps": fps, "phenotype": phenotype, "local_changes": changes}
    about |= {"motion": anny["motion"], "bones": recording.bones}
    with atomic(path) as temporary:
        np.savez_compressed(
            temporary,
            about=json.dumps(about),
            frame=np.arange(first, first + len(local), dtype=np.int32),
            rotations=local.astype(np.float32),
            translation=recording.places[:, 0].astype(np.float32),
        )


def _check_rigid(recording: Recording) -> None:
    parents, turns, places = recording.parents, recording.turns, recording.places
    rest = recording.heads[1:] - recording.heads[parents[1:]]
    expected = places[:, parents[1:]] + np.einsum("fbij,bj->fbi", turns[:, parents[1:]], rest)
    off = np.linalg.norm(places[:, 1:] - expected, axis=-1).max(axis=0, initial=0)
    if len(off) and off.max() > RIGID:
        bone = recording.bones[1 + int(off.argmax())]
        raise PoseFactoryError(
            f"The bone {bone} moves in its parent by up to {1000 * off.max():.0f} mm, which no pose of an Anny body "
            "does: leave body out of export.motions, or give the character a motion that only turns bones."
        )
