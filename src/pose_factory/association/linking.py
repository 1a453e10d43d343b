"""Joining the parts of a person whose track broke, once all has been seen: a track that starts after another one ended
may be the same person, who was hidden meanwhile longer or otherwise than the association could bridge.

It goes by what outlasts a few wrong frames at the break: how a person looks on the whole, and how far anybody gets.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_factory.association.cost import APPEARANCE_UNIT
from pose_factory.tracking.people import Track

MOST_DIFFERENT = 0.3
"""The largest squared distance of appearance within a person; between people in different clothes it is about 1."""
SPEED, START = 1.5, 0.5
"""Sizes of the body that a person moves in a second at most, and what the boxes may be off besides."""
MOST_GROWN = 1.5
"""The largest ratio of a person's sizes at either side of the break."""


def link(tracks: Mapping[int, Track], fps: float, longest: int) -> dict[int, int]:
    """For each track that carries on another one, by id, the id of that one.

    A break may last `longest` frames, of which there are `fps` a second. Pairs are chosen one to one, such that most
    are joined, at the least sum of differences in appearance and of distances as parts of what is possible.
    """
    ids = sorted(tracks, key=lambda track_id: tracks[track_id].frames[0])
    costs = np.full((len(ids), len(ids)), np.inf)
    for row, earlier in enumerate(ids):
        for column, later in enumerate(ids):
            costs[row, column] = _cost(tracks[earlier], tracks[later], fps, longest)
    impossible = 2.0 * (len(ids) + 1)  # more than any possible pairs together
    pairs = zip(*linear_sum_assignment(np.where(np.isfinite(costs), costs, impossible)), strict=True)
    return {ids[column]: ids[row] for row, column in pairs if np.isfinite(costs[row, column])}


def _cost(earlier: Track, later: Track, fps: float, longest: int) -> float:
    """0 to 2; infinite for tracks that cannot be one person."""
    gap = int(later.frames[0] - earlier.frames[-1])
    if not 0 < gap <= longest:
        return np.inf
    looks = [np.median(track.appearance, axis=0) / APPEARANCE_UNIT for track in (earlier, later)]
    different = float(((looks[0] - looks[1]) ** 2).sum()) / MOST_DIFFERENT
    boxes = earlier.box[-1], later.box[0]
    middles = [(box[:2] + box[2:]) / 2 for box in boxes]
    sizes = [float((box[2:] - box[:2]).max()) for box in boxes]
    moved = float(np.linalg.norm(middles[1] - middles[0])) / max(sizes) / (START + SPEED * gap / fps)
    grown = max(sizes) / min(sizes)
    return different + moved if max(different, moved) <= 1 and grown <= MOST_GROWN else np.inf
