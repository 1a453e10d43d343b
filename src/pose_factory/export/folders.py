"""The folders of the dataset on disk."""

import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pose_factory.errors import PoseFactoryError

TREES = {
    "coco": ["coco/images"],
    "yolo": ["yolo/images", "yolo/labels"],
    "webdataset": ["webdataset"],
    "arrays": ["arrays"],
}
"""By format: where in the dataset the folders {split}/{character} are."""
FORMS = {"bvh": "bvh", "trc": "trc", "c3d": "c3d", "body": "body.npz"}
"""What a motion's file ends in, by its form."""
MOTION = re.compile(rf"([^.]+)(\.[0-9]+)?\.({'|'.join(map(re.escape, FORMS.values()))})")
"""The name of the file of one person's motion: its character, and in a scene, which person it is."""
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a disk answers that has no hard links, or none more of this file, and so does one beside another."""


def place(picture: Path, target: Path) -> None:
    """Put `picture` at `target`: as a hard link, which takes no room, or where the disk gives none, as a copy.

    Raises PoseFactoryError for a picture that is not there.
    """
    if not picture.is_file():
        raise PoseFactoryError(f"{picture} is missing; render its view again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(picture, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(picture, target)


def remove_others(folder: Path, shards: Iterable[Path]) -> list[Path]:
    """Delete the folders {split}/{character} in `folder` that are none of these `shards`; return which.

    They are of characters that are no longer there or now in another split, where they would be trained and tested on.
    """
    kept = set(shards)
    others = [path for path in sorted(folder.glob("*/*")) if path.is_dir() and path not in kept]
    for path in others:
        shutil.rmtree(path)
    return others


def remove_from_other_splits(shard: Path) -> None:
    """Delete the folders of a `shard` {split}/{character} in other splits, before it is made in this one: nobody may be
    trained and tested on, not even while the other characters are still to come."""
    for path in shard.parents[1].glob(f"*/{shard.name}"):
        if path != shard:
            shutil.rmtree(path)


def withdraw(gathered: Iterable[str]) -> None:
    """Delete files that are put together from shards before one of these changes, for they would be wrong from then on,
    and for good if another character fails."""
    for path in gathered:
        Path(path).unlink(missing_ok=True)


def remove_motions(folder: Path, characters: Iterable[str]) -> list[Path]:
    """Delete the motions in `folder` that are none of these characters'; return which. All else stays."""
    kept = set(characters)
    motions = [(path, MOTION.fullmatch(path.name)) for path in sorted(folder.glob("*.*")) if path.is_file()]
    others = [path for path, motion in motions if motion and motion[1] not in kept]
    for path in others:
        path.unlink()
    return others


def size_of(folder: Path) -> tuple[int, int]:
    """How many files a folder holds, and their bytes, links counted like files."""
    sizes = [entry.stat().st_size for entry in folder.rglob("*") if entry.is_file() and not entry.name.startswith(".")]
    return len(sizes), sum(sizes)
