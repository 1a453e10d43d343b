"""Trees of bones: which of them to keep, and how each is turned in its parent.

A tree is parents (B,): the index of each bone's parent, which comes before it, and -1 where there is none.
"""

import numpy as np


def local_turns(turns: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """(..., B, 3, 3) each bone's turn in the axes of the rest pose as its parent has turned them, from the `turns`
    (..., B, 3, 3) of all bones in common axes; the root, which is the first bone, keeps its own."""
    local = turns.copy()
    local[..., 1:, :, :] = turns[..., parents[1:], :, :].swapaxes(-1, -2) @ turns[..., 1:, :, :]
    return local


def rotations(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) the rotations that are nearest to `matrices` (..., 3, 3), which may also scale and shear (Kabsch
    1976, 'A solution for the best rotation to relate two sets of vectors')."""
    left, _, right = np.linalg.svd(matrices)
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]
    return left @ right


def thin(parents: np.ndarray, wanted: np.ndarray, pelvis: int) -> tuple[np.ndarray, np.ndarray]:
    """The `wanted` (B,) bones of a tree: their indices (K,) and, among these, their parents (K,).

    A bone hangs on its nearest ancestor that is wanted. There is one root, which comes first: the topmost wanted bone
    above `pelvis`, or that itself. Others that have no ancestor hang on it, too.
    """

    def above(bone: int) -> int:
        while (bone := parents[bone]) >= 0 and not wanted[bone]:
            pass
        return bone

    root = pelvis
    while (higher := above(root)) >= 0:
        root = higher
    kept = np.array([root, *(bone for bone in np.flatnonzero(wanted) if bone != root)])
    order = {bone: index for index, bone in enumerate(kept)}
    return kept, np.array([-1, *(order.get(above(bone), 0) for bone in kept[1:])])
