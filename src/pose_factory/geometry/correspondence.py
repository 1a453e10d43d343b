"""Correspondence: which tracks of different views are the same person.

Two views are not enough to tell: where the cameras stand at one height, all rays lie in nearly level planes, and any
two people of one height may fit each other. So every pair of tracks proposes a motion in the world, and the one that is
best supported by tracks of all views, in most frames, is a person's; then the next best, of the tracks that are left.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pose_factory.geometry.camera import Camera
from pose_factory.geometry.fusion import midway
from pose_factory.skeleton import INDEX, PAIRS

LEFT, RIGHT = ([INDEX[joint] for joint in side] for side in zip(*PAIRS, strict=True))
FARTHEST = 0.2
"""How far, as a fraction of the person's size in the image, a track may be from where another view puts that person."""


def same_people(
    pixels: Sequence[np.ndarray], sizes: Sequence[np.ndarray], cameras: Sequence[Camera]
) -> list[list[list[int]]]:
    """For each person found, for each view, the indices of the tracks that show them: several where a track broke off.

    `pixels` has a block (T, F, J, 2) per view with its T tracks over the same F frames, NaN for what is missing, J the
    canonical joints; `sizes` (T,) per view the people's sizes in pixels. A person is somebody whom three views have (or
    two, where there are no more). Tracks that fit nobody are left out. People come in the order of their first track.
    """
    # Of each pair of joints the middle, which a tracker that takes left for right puts in the same place.
    middles = [(block[:, :, LEFT] + block[:, :, RIGHT]) / 2 for block in pixels]
    tracks = [(view, index) for view, block in enumerate(pixels) for index in range(len(block))]
    pairs = [(a, b) for a, b in combinations(tracks, 2) if a[0] != b[0]]
    views = np.array([view for view, _ in tracks])
    measured = [_distances_to_all(a, b, middles, sizes, cameras) for a, b in pairs]
    distances, shares = np.array(measured).reshape(len(pairs), len(tracks), 2).transpose(2, 0, 1)
    support = shares * np.maximum(1 - distances / FARTHEST, 0)
    found, free = [], np.ones(len(tracks), bool)
    while len(pairs):
        # the best free track of each view, and how well it supports each proposal
        in_views = np.where(free, support, 0.0)[:, None] * (views == np.arange(len(pixels))[:, None])
        enough = (in_views.max(-1) > 0).sum(-1) >= min(3, len(pixels))
        best = np.argmax(np.where(enough, in_views.max(-1).sum(-1), 0.0))
        if not enough[best]:
            break
        found.append(distances[best])
        free[in_views[best].argmax(-1)[in_views[best].max(-1) > 0]] = False
    people = _assign(np.array(found), tracks, [np.isfinite(block).all(-1).any(-1) for block in pixels])
    return sorted(people, key=lambda person: next((view, person[view]) for view in range(len(person)) if person[view]))


def _distances_to_all(a, b, middles, sizes, cameras) -> list[tuple[float, float]]:
    """For every track its median distance, in sizes, from the motion that the tracks `a` and `b` propose, and the
    fraction of all frames that this was measured in; infinite where there are none."""
    points = midway(middles[a[0]][a[1]], middles[b[0]][b[1]], cameras[a[0]], cameras[b[0]])
    row = []
    for block, size, camera in zip(middles, sizes, cameras, strict=True):
        distances = np.linalg.norm(block - camera.project(points)[0], axis=-1)
        for track, scale in zip(distances, size, strict=True):
            known = np.isfinite(track)
            row.append((np.median(track[known]) / scale if known.any() else np.inf, known.any(-1).mean()))
    return row


def _assign(distances, tracks, present) -> list[list[list[int]]]:
    """Every track to the person that it is nearest to and who has no other track in its frames; the nearest first.

    `distances` (people, tracks); `present` (T, F) bool per view.
    """
    people = [[[] for _ in present] for _ in distances]
    open_pairs = np.argwhere(distances < FARTHEST) if len(people) else []
    taken = set()
    for person, track in sorted(open_pairs, key=lambda pair: distances[tuple(pair)]):
        view, index = tracks[track]
        mine = people[person][view]
        if track not in taken and not any((present[view][index] & present[view][other]).any() for other in mine):
            mine.append(index)
            taken.add(track)
    return [[sorted(mine) for mine in person] for person in people]
