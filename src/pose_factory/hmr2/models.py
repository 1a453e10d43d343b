"""HMR2's files: which there must be, and getting those that may be had without registering.

The folder is laid out as the published code's cache, so that one that is there already (~/.cache/4DHumans) will do.
What was fetched is written down in SHA256SUMS, as `sha256sum` has it: its authors publish no checksums, so the first
download is taken as it comes, and later ones are held to it.
"""

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pose_factory.errors import PoseFactoryError
from pose_factory.files import atomic

CHECKPOINT = "logs/train/multiruns/hmr2/0/checkpoints/epoch=35-step=1000000.ckpt"
REGRESSOR = "data/SMPL_to_J19.pkl"
BODIES = ("data/smpl/SMPL_NEUTRAL.pkl", "data/smpl/SMPL_NEUTRAL.npz")
POSE_PREDICTOR, POSE_STATISTICS = "phalp/pose_predictor.pth", "phalp/mean_std.npy"
SUMS = "SHA256SUMS"
REGISTRATION = (
    "SMPL may not be passed on: register at https://smpl.is.tue.mpg.de, download SMPL for Python (version 1.1.0) and "
    "copy its basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl (of version 1.0.0, from https://smplify.is.tue.mpg.de, "
    "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl) to {}"
)
_CHUNK = 2**20
_TIMEOUT = 60.0
_ELSEWHERE = "try again later, or get the file elsewhere (docs/models.md says where to put it)"


@dataclass(frozen=True)
class Source:
    """Something to download: what it is saved as in the folder of models; for an archive, the paths in it of what is
    wanted; and its checksum, if that is known beforehand."""

    url: str
    file: str
    wanted: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """What there must be when it has been fetched."""
        return self.wanted or (self.file,)


_HOST = "https://www.cs.utexas.edu/~pavlakos"
ARCHIVE = Source(f"{_HOST}/4dhumans/hmr2_data.tar.gz", "hmr2_data.tar.gz", (CHECKPOINT, REGRESSOR))
PHALP = (
    Source(f"{_HOST}/phalp/weights/pose_predictor_40006.ckpt", POSE_PREDICTOR),
    Source(f"{_HOST}/phalp/3D/mean_std.npy", POSE_STATISTICS),
)
"""PHALP's learned predictor of poses, where `association` looks for it; HMR2 does without."""


def folder(settings: Mapping) -> Path:
    """Where the files are, by the config's `tracking` section."""
    return Path(os.path.abspath(os.path.expanduser(settings["hmr2"]["models"])))


def body(models: Path) -> Path:
    """The file of SMPL in the folder `models`; where it should be if it is not there."""
    return next((models / name for name in BODIES if (models / name).is_file()), models / BODIES[0])


def missing(settings: Mapping) -> str:
    """One sentence about the files that the config's `tracking` section needs and that are not there; else empty."""
    if settings["backend"] != "hmr2":
        return ""
    models = folder(settings)
    parts = []
    absent = [str(models / name) for name in ARCHIVE.wanted if not (models / name).is_file()]
    if absent:
        parts.append(f"run `snakemake --cores 1 fetch_models` for {' and '.join(absent)}")
    if not body(models).is_file():
        parts.append(REGISTRATION.format(body(models)))
    return f"tracking.backend is hmr2, whose files are not all there: {'; '.join(parts)}." if parts else ""


def sources(settings: Mapping) -> tuple[Source, ...]:
    """All that may be downloaded, by the config's `tracking` section."""
    return replace(ARCHIVE, sha256=settings["hmr2"]["sha256"].lower()), *PHALP


def fetch(models: Path, sources: Iterable[Source], say: Callable[[str], None]) -> None:
    """Make sure that the folder `models` has all that `sources` give, and `say` how it goes, line by line.

    Raises PoseFactoryError when a download fails, and may then be called again to go on with it; and when a file is
    not what it was when it was first fetched.
    """
    sums = _read_sums(models)
    first = f"what was first fetched ({models / SUMS})"
    for source in sources:
        if all((models / name).is_file() for name in source.files):
            for name in source.files:
                _check(models / name, sums.get(name, ""), first)
                say(f"{models / name} is there.")
            continue
        part = models / f"{source.file}.part"
        _download(source.url, part, say)
        _check(part, source.sha256, "the config")
        _check(part, sums.get(source.file, ""), first)
        sums[source.file] = _sha256(part)
        say(f"{source.file} has the SHA-256 {sums[source.file]}.")
        if source.wanted:
            _extract(part, models, source.wanted)
            sums |= {name: _sha256(models / name) for name in source.wanted}
            part.unlink()
        else:
            part.replace(models / source.file)
        _version_of(part).unlink(missing_ok=True)
        _write_sums(models, sums)
    if body(models).is_file():
        say(f"{body(models)} is there.")
    else:
        say(f"One file is left for you to get. {REGISTRATION.format(body(models))}.")


# Downloading


def _download(url: str, part: Path, say: Callable[[str], None]) -> None:
    """Complete the file `part` from `url`, with as many requests as bring something."""
    part.parent.mkdir(parents=True, exist_ok=True)
    before = _size(part)
    while reason := _request(url, part, say):
        if _size(part) <= before:
            raise PoseFactoryError(f"Cannot download {url}: {reason}; run again to go on from {before:,} bytes.")
        before = _size(part)
        say(f"{url}: {reason}; going on.")


def _request(url: str, part: Path, say: Callable[[str], None]) -> str:
    """Ask once for what `part` lacks; why it is still not complete, or empty where it is."""
    from http.client import HTTPException  # these take longer to load than reading the config does
    from ssl import SSLError
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    version = _version_of(part)
    here = _size(part) if version.is_file() else 0
    # The server sends the rest if the file still is the version of which there is a part, and else all of it.
    headers = {"Range": f"bytes={here}-", "If-Range": version.read_text()} if here else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as response:
            done = here if response.status == 206 else 0
            if response.headers["Content-Length"] is None:
                raise PoseFactoryError(f"Cannot download {url}: the server does not say how long it is; {_ELSEWHERE}.")
            total = done + int(response.headers["Content-Length"])
            if not done:
                _remember(version, response.headers)
            with part.open("ab" if done else "wb") as file:
                _copy(response, file, done, total, lambda share: say(f"{url}: {share:.0%} of {total / 1e6:,.1f} MB."))
    except HTTPError as error:
        error.close()
        if error.code == 416 and error.headers["Content-Range"] == f"bytes */{here}":  # nothing is lacking
            return ""
        reason = f"the server says {error.code} {error.reason}"
        raise PoseFactoryError(f"Cannot download {url}: {reason}; {_ELSEWHERE}.") from error
    except (URLError, ConnectionError, TimeoutError, SSLError, HTTPException) as error:
        return f"the connection failed ({error})"
    if _size(part) < total:
        return f"the connection ended at {_size(part):,} of {total:,} bytes"
    return ""


def _version_of(part: Path) -> Path:
    """The file that says which version of what the server has `part` is of."""
    return part.with_name(f"{part.name}.version")


def _remember(version: Path, headers: Mapping[str, str]) -> None:
    """Write down by what the server will know this version of a file again, if it says so."""
    mark = headers["ETag"] or "W/"
    mark = (headers["Last-Modified"] or "") if mark.startswith("W/") else mark  # a weak one does not vouch for bytes
    if mark:
        version.write_text(mark)
    else:
        version.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, done: int, total: int, say: Callable[[float], None]) -> None:
    """Copy what is left of `total` bytes, of which `done` are there, and say the share at every twentieth."""
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        if (done + len(chunk)) * 20 // total > done * 20 // total:
            say((done + len(chunk)) / total)
        done += len(chunk)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _extract(archive: Path, models: Path, wanted: tuple[str, ...]) -> None:
    """Take the files `wanted`, and nothing else, out of a tar archive."""
    left = set(wanted)
    try:
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=models) as temporary:
            for member in tar:
                name = str(PurePosixPath(member.name))
                if name in left and member.isfile():
                    tar.extract(member, temporary, filter="data")
                    target = models / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (Path(temporary) / name).replace(target)
                    left.discard(name)
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise PoseFactoryError(f"Cannot unpack {archive} ({reason}); delete it and run again.") from error
    if left:
        raise PoseFactoryError(f"{archive} is not HMR2's archive: it lacks {', '.join(sorted(left))}; delete it.")


# Checksums


def _check(file: Path, expected: str, of: str) -> None:
    if expected and (found := _sha256(file)) != expected:
        raise PoseFactoryError(f"{file} has the SHA-256 {found}, not {expected} of {of}; delete it and run again.")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_sums(models: Path) -> dict[str, str]:
    path = models / SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name: checksum for checksum, name in (line.split("  ", 1) for line in lines if "  " in line)}


def _write_sums(models: Path, sums: Mapping[str, str]) -> None:
    with atomic(models / SUMS) as temporary:
        temporary.write_text("".join(f"{checksum}  {name}\n" for name, checksum in sorted(sums.items())))
