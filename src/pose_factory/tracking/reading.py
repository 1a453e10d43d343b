"""Tracks back from the tables that `tracking.output` wrote."""

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from pose_factory.errors import PoseFactoryError
from pose_factory.tracking.people import Track


def read_tracks(tracks: pd.DataFrame, people: pd.DataFrame, joints: list[str]) -> dict[int, Track]:
    """{track_id: track} of tracks.parquet and people.parquet of the same footage; `joints` are those that the tracker
    gives. How people look is in neither table, so that a track's `appearance` is (N, 0).

    Raises PoseFactoryError where the two are not of the same tracks.
    """
    found = {}
    of_bodies = dict(iter(people.groupby("track_id")))
    for track_id, table in tracks.groupby("track_id"):
        bodies = of_bodies.pop(track_id, people[:0])
        frames = bodies.frame.to_numpy(int)
        if len(table) != len(frames) * len(joints) or (table.frame.to_numpy()[:: len(joints)] != frames).any():
            raise PoseFactoryError(
                "The tables of tracks and of people are not of the same tracks: track the view again."
            )
        values = table[["u", "v", "x", "y", "z", "confidence"]].to_numpy().reshape(len(frames), len(joints), 6)
        rotations = Rotation.from_rotvec(np.concatenate(bodies.rotations.to_list()).reshape(-1, 3)).as_matrix()
        found[int(track_id)] = Track(
            frames=frames,
            provenance=bodies.provenance.to_numpy(object),
            box=bodies[["x_min", "y_min", "x_max", "y_max"]].to_numpy(),
            score=bodies.score.to_numpy(),
            pixels=values[..., :2],
            joints=values[..., 2:5],
            confidence=values[..., 5],
            translation=bodies[["translation_x", "translation_y", "translation_z"]].to_numpy(),
            rotations=rotations.reshape(len(frames), -1, 3, 3),
            shape=np.stack(bodies["shape"].to_list()),
            appearance=np.empty((len(frames), 0)),
        )
    if of_bodies:
        raise PoseFactoryError("The tables of tracks and of people are not of the same tracks: track the view again.")
    return found
