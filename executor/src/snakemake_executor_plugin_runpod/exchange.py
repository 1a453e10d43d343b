"""What client and workers hand to each other through a remote: file contents, each stored once under its SHA-256, and
the records of every attempt at a job.

    objects/{sha256}
    attempts/{attempt}/order.json   what a worker shall do
    attempts/{attempt}/exit.json    how it ended; written last, when the outputs are there
    attempts/{attempt}/log.txt      Snakemake's output on the worker
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import RemoteError
from .remote import Progress, Remote

# {"files": {path: [sha256, size in bytes, whether it is executable]}, "folders": [path]}, paths relative to a root.
Manifest = dict

# In place of a folder's files: the manifest, relative to that folder, of what stayed at the remote.
PLACEHOLDER = "stayed-at-remote.json"


class Exchange:
    """A folder at a remote, shared by a client and its workers. All methods raise RemoteError."""

    def __init__(self, remote: Remote):
        self.remote = remote

    def push(self, paths: Iterable[str], root: Path, progress: Progress | None = None) -> Manifest:
        """Send files, and folders with all they hold, and say what was sent. Contents already there are not sent again.

        A folder that is a placeholder counts as the files that stayed at the remote.
        """
        here, stayed = manifests_of(paths, root)
        contents = {digest: path for path, (digest, *_) in here["files"].items()}
        with tempfile.TemporaryDirectory(prefix="objects-") as staging:
            for digest, path in contents.items():
                (Path(staging) / digest).symlink_to((root / path).absolute())
            if contents:
                (self.remote / "objects").push(Path(staging), sorted(contents), progress)
        return together(here, stayed)

    def pull(self, manifest: Manifest, root: Path, cache: Path | None = None, progress: Progress | None = None) -> None:
        """Bring files to below `root`, each checked by its SHA-256 and put in its place at once.

        Args:
            cache: folder that keeps the contents for later calls; without one they are kept nowhere.
        """
        folders = [inside(root, folder) for folder in manifest["folders"]]
        places = {inside(root, path): facts for path, facts in manifest["files"].items()}
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".objects-", dir=root) as temporary:
            store = cache or Path(temporary)
            store.mkdir(parents=True, exist_ok=True)
            uses = Counter(digest for digest, *_ in places.values())
            absent = sorted(digest for digest in uses if not (store / digest).is_file())
            if absent:
                arrivals = Path(tempfile.mkdtemp(prefix=".arriving-", dir=store))
                try:
                    (self.remote / "objects").pull(arrivals, absent, progress)
                    for digest in absent:
                        if not (arrivals / digest).is_file() or sha256_of(arrivals / digest) != digest:
                            where = f"{self.remote.address}/objects/{digest}"
                            raise RemoteError(
                                f"{where} is missing or damaged; delete it there, and here the"
                                f" folder with a {PLACEHOLDER} that it is of, if it is of one; then run again."
                            )
                        (arrivals / digest).replace(store / digest)
                finally:
                    shutil.rmtree(arrivals, ignore_errors=True)
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            for place, (digest, _, executable) in places.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                content = store / digest
                uses[digest] -= 1
                if cache or uses[digest]:  # a copy, not a link: a job may change its own
                    content = shutil.copyfile(content, Path(temporary) / "copy")
                content.chmod(0o755 if executable else 0o644)
                content.replace(place)

    def record(self, attempt: str, name: str) -> dict | None:
        """The record of that name of an attempt, None if there is none."""
        data = self.remote.read(f"attempts/{attempt}/{name}.json")
        return None if data is None else json.loads(data)

    def write_record(self, attempt: str, name: str, facts: dict) -> None:
        """Write a record of an attempt."""
        self.remote.write(f"attempts/{attempt}/{name}.json", json.dumps(facts, indent=1).encode())

    def log(self, attempt: str) -> str | None:
        """Snakemake's output on the worker so far, None if none has arrived."""
        data = self.remote.read(f"attempts/{attempt}/log.txt")
        return None if data is None else data.decode(errors="replace")

    def write_log(self, attempt: str, log: Path) -> None:
        """Write Snakemake's output on the worker, as far as it has come."""
        self.remote.write(f"attempts/{attempt}/log.txt", log.read_bytes())


def manifests_of(paths: Iterable[str], root: Path) -> tuple[Manifest, Manifest]:
    """What these files and folders hold, with paths relative to `root`: what is here, and what placeholders say has
    stayed at the remote.

    Raises:
        RemoteError: a path does not exist, cannot be read or leads out of `root`.
    """
    files, folders, stayed = {}, [], []
    for path in sorted(set(paths)):
        for folder, names in _walk(inside(root, path)):
            if names is None:
                files[os.path.relpath(folder, root)] = _facts(folder)
                continue
            relative = os.path.relpath(folder, root)
            folders.append(relative)
            if (folder / PLACEHOLDER).is_file():
                stayed.append(below(relative, _listed(folder / PLACEHOLDER)))
            else:
                files |= {f"{relative}/{name}": _facts(folder / name) for name in names}
    return {"files": files, "folders": folders}, together(*stayed)


def below(folder: str, manifest: Manifest) -> Manifest:
    """The manifest of a folder's inside, with paths relative to where the folder is; undoes `part_of`."""
    return {
        "files": {f"{folder}/{path}": facts for path, facts in manifest["files"].items()},
        "folders": [f"{folder}/{path}" for path in manifest["folders"]],
    }


def part_of(manifest: Manifest, folder: str) -> Manifest:
    """What a manifest says about the inside of one folder, with paths relative to it."""
    start = f"{folder}/"
    return {
        "files": {
            path.removeprefix(start): facts for path, facts in manifest["files"].items() if path.startswith(start)
        },
        "folders": [path.removeprefix(start) for path in manifest["folders"] if path.startswith(start)],
    }


def together(*manifests: Manifest) -> Manifest:
    """One manifest of all."""
    files = {path: facts for manifest in manifests for path, facts in manifest["files"].items()}
    return {"files": files, "folders": [folder for manifest in manifests for folder in manifest["folders"]]}


def without(manifest: Manifest, folder: str) -> Manifest:
    """The manifest without that folder and what is inside."""
    inner = f"{folder}/"
    return {
        "files": {path: facts for path, facts in manifest["files"].items() if not path.startswith(inner)},
        "folders": [path for path in manifest["folders"] if path != folder and not path.startswith(inner)],
    }


def inside(root: Path, path: str) -> Path:
    """`root`/`path`.

    Raises:
        RemoteError: that is not below `root`.
    """
    whole = os.path.abspath(root / path)
    if not whole.startswith(os.path.abspath(root) + os.sep):
        raise RemoteError(f"{path} is not below {root}; only files there can travel.")
    return Path(whole)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _walk(path: Path) -> Iterator[tuple[Path, list[str] | None]]:
    """(file, None), or (folder, names of its files) for it and all below."""
    if path.is_file():
        yield path, None
    elif path.is_dir():
        for folder, folders, names in os.walk(path, followlinks=True):
            folders.sort()
            for link in (Path(folder, name) for name in folders):
                if link.is_symlink() and any(link.samefile(parent) for parent in link.parents):
                    raise RemoteError(f"{link} links to a folder that it is in, so it cannot travel; remove the link.")
            yield Path(folder), sorted(names)
    else:
        raise RemoteError(f"{path} does not exist, so it cannot travel.")


def _listed(placeholder: Path) -> Manifest:
    try:
        manifest = json.loads(placeholder.read_bytes())["manifest"]
        return {"files": dict(manifest["files"]), "folders": list(manifest["folders"])}
    except (ValueError, TypeError, KeyError):
        raise RemoteError(
            f"{placeholder} is not a list of what stayed at the remote, which files of that name are; rename it, or"
            " delete its folder to have it made again."
        ) from None


def _facts(file: Path) -> list:
    try:
        return [sha256_of(file), file.stat().st_size, os.access(file, os.X_OK)]
    except OSError as error:
        raise RemoteError(f"{file} cannot be read ({error.strerror}), so it cannot travel.") from None
