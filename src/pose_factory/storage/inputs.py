"""Characters' files that lie at the remote: what they hold there, and getting them.

Only content counts, size and MD5, never a time. This is imported each time Snakemake starts, so it is light.
"""

import posixpath
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from pose_factory.sources import parts_of
from pose_factory.storage import Progress, told

Content = dict[str, dict]  # path below the remote: {size (bytes), md5 (hexadecimal digits)}


def contents(address: str, files: Iterable[str]) -> dict[str, Content]:
    """By character's file, a path below the remote `address`: the content of it and of the parts that it names.

    It is empty for a file that is not there; a part that is not there is left out. All files take one listing. Raises
    PoseFactoryError if the remote cannot be read.
    """
    from snakemake_executor_plugin_runpod.remote import Remote

    files = list(files)
    with told(), tempfile.TemporaryDirectory() as folder:
        remote = Remote(address)
        named = {file: [file] for file in files}
        scenes = [file for file in files if file.lower().endswith(".gltf")]
        if scenes:
            remote.pull(Path(folder), scenes)
            named |= {file: [file, *_parts(Path(folder), file)] for file in scenes}
        there = remote.listing({part for parts in named.values() for part in parts})
    return {
        file: {part: {"size": there[part].size, "md5": there[part].md5} for part in sorted(parts) if part in there}
        if file in there
        else {}
        for file, parts in named.items()
    }


def received(receipt: Path) -> Content:
    """The content that was fetched last, by its receipt; empty if there is none."""
    try:
        return read_json(receipt)["files"]
    except (OSError, ValueError, KeyError):  # absent, or damaged by hand: then it is fetched again
        return {}


def fetch(address: str, file: str, folder: Path, progress: Progress) -> dict:
    """Copy a character's file and its parts to `folder`, each under its path below the remote `address`, and check
    them by hash. Returns the receipt. Raises PoseFactoryError if this cannot be done.
    """
    from snakemake_executor_plugin_runpod.remote import Remote

    content = contents(address, [file])[file]
    if not content:
        raise PoseFactoryError(f"{address} has no '{file}'; upload it, or correct the character's `remote`.")
    with told():
        remote = Remote(address)
        remote.pull(folder, content, progress)
        missing = [part for part in content if not (folder / part).is_file()]
        if missing or remote.differing(folder, content):
            raise PoseFactoryError(f"'{file}' changed at {address} while it was being fetched; run again.")
    return {"remote": address, "files": content}


def _parts(folder: Path, file: str) -> list[str]:
    """The parts that a scene in `folder` names, as paths from there; without those beyond it."""
    paths = [posixpath.normpath(posixpath.join(posixpath.dirname(file), part)) for part in parts_of(folder / file)]
    return [path for path in paths if not path.startswith(("../", "/"))]
