"""Getting HMR2's files from a server that behaves, and from some that do not; and doing without them."""

import errno
import hashlib
import io
import os
import re
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pose_factory.errors import PoseFactoryError
from pose_factory.hmr2 import models
from pose_factory.hmr2.models import CHECKPOINT, REGRESSOR, SUMS, Source
from workflow import Workflow

CONTENT = np.random.default_rng(0).bytes(3 * 2**20 + 12345)
SMPL = "register at https://smpl.is.tue.mpg.de"


@dataclass
class Server:
    """A real HTTP server on this machine, whose ways a test may change."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    """Whether it sends parts."""
    dies_after: int | None = None
    """So many bytes into an answer it closes the connection."""
    etag: str = '"one"'
    length: bool = True
    """Whether it says how long an answer is."""
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range of every request."""


@pytest.fixture
def server():
    state = Server({})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers["Range"]
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path)
            if content is None or state.status != 200:
                self.send_error(404 if content is None else state.status)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if not state.ranges or self.headers["If-Range"] != state.etag:
                start = 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if state.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(content[start:][: state.dies_after])
            self.close_connection = True

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """A tar.gz of files, of which their makers' own begin with ./"""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member)
    return buffer.getvalue()


@pytest.fixture
def plain(server) -> Source:
    server.files["/weights"] = CONTENT
    return Source(f"{server.url}/weights", "phalp/weights.pth")


@pytest.fixture
def said() -> list[str]:
    return []


def refusal(folder: Path, *sources: Source) -> str:
    """The sentence with which fetching fails."""
    with pytest.raises(PoseFactoryError) as caught:
        models.fetch(folder, sources, lambda line: None)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def test_a_file_is_fetched_once_and_then_checked(tmp_path, server, plain, said):
    models.fetch(tmp_path, [plain], said.append)
    assert (tmp_path / plain.file).read_bytes() == CONTENT
    assert (tmp_path / SUMS).read_text() == f"{sha256(CONTENT)}  {plain.file}\n"  # as sha256sum writes it
    assert f"{plain.url}: 100% of 3.2 MB." in said and sum("%" in line for line in said) >= 3
    assert said[-1].startswith("One file is left for you to get.") and SMPL in said[-1]
    assert str(tmp_path / "data/smpl/SMPL_NEUTRAL.pkl") in said[-1]
    models.fetch(tmp_path, [plain], said.append)
    assert server.asked == [("/weights", None)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [SUMS, "weights.pth"]
    (tmp_path / plain.file).write_bytes(CONTENT[:-1] + b"x")
    sentence = refusal(tmp_path, plain)
    assert sha256(CONTENT) in sentence and "what was first fetched" in sentence and "delete it" in sentence


def test_a_dying_connection_is_taken_up_again(tmp_path, server, plain, said):
    server.dies_after = 2**20
    models.fetch(tmp_path, [plain], said.append)
    assert (tmp_path / plain.file).read_bytes() == CONTENT
    ranges = [None, *(f"bytes={start * 2**20}-" for start in (1, 2, 3))]
    assert [wanted for _, wanted in server.asked] == ranges
    assert any("the connection ended at 1,048,576 of 3,158,073 bytes; going on." in line for line in said)


def test_a_later_run_goes_on_where_an_earlier_one_stopped(tmp_path, server, plain):
    class Stop(Exception):
        pass

    def stop_halfway(line: str) -> None:
        if "%" in line and "100%" not in line:
            raise Stop

    with pytest.raises(Stop):
        models.fetch(tmp_path, [plain], stop_halfway)
    part = tmp_path / f"{plain.file}.part"
    there = part.stat().st_size
    assert 0 < there < len(CONTENT) and not (tmp_path / plain.file).exists()
    models.fetch(tmp_path, [plain], lambda line: None)
    assert server.asked[1] == ("/weights", f"bytes={there}-")
    assert (tmp_path / plain.file).read_bytes() == CONTENT and not part.exists()


def test_a_part_of_another_version_is_not_continued(tmp_path, server, plain):
    server.dies_after = 2**20
    server.files["/weights"] = b"\0" * len(CONTENT)
    part = tmp_path / f"{plain.file}.part"
    part.parent.mkdir()
    models._request(plain.url, part, lambda line: None)
    assert part.stat().st_size == 2**20
    server.dies_after, server.etag = None, '"two"'
    server.files["/weights"] = CONTENT
    models.fetch(tmp_path, [plain], lambda line: None)
    assert (tmp_path / plain.file).read_bytes() == CONTENT


@pytest.mark.parametrize("etag, ranges", [('"one"', False), ('W/"weak"', True)])
def test_a_server_that_cannot_continue_starts_over(tmp_path, server, plain, etag, ranges):
    server.etag, server.ranges, server.dies_after = etag, ranges, 2**20
    sentence = refusal(tmp_path, plain)
    assert "the connection ended at 1,048,576 of 3,158,073 bytes" in sentence and "run again to go on" in sentence
    server.dies_after = None
    models.fetch(tmp_path, [plain], lambda line: None)
    assert (tmp_path / plain.file).read_bytes() == CONTENT


def test_what_was_downloaded_but_not_put_away_is_not_downloaded_again(tmp_path, server, plain, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "replace", full)
        models.fetch(tmp_path, [plain], lambda line: None)
    models.fetch(tmp_path, [plain], lambda line: None)
    assert server.asked == [("/weights", None), ("/weights", f"bytes={len(CONTENT)}-")]
    assert (tmp_path / plain.file).read_bytes() == CONTENT


def test_what_a_server_refuses(tmp_path, server, plain):
    assert "the server says 404 Not Found; try again later" in refusal(tmp_path, Source(f"{server.url}/no", "no"))
    server.status = 403
    assert "the server says 403 Forbidden" in refusal(tmp_path, plain)
    server.status, server.length = 200, False
    assert "does not say how long it is" in refusal(tmp_path, plain)
    assert "the connection failed" in refusal(tmp_path, Source("http://127.0.0.1:9/weights", "no"))
    assert not (tmp_path / SUMS).exists()


def test_a_wrong_checksum(tmp_path, server, plain):
    wrong = Source(plain.url, plain.file, sha256="0" * 64)
    sentence = refusal(tmp_path, wrong)
    assert f"{sha256(CONTENT)}, not {'0' * 64} of the config; delete it and run again." in sentence
    assert not (tmp_path / plain.file).exists() and not (tmp_path / SUMS).exists()
    right = Source(plain.url, plain.file, sha256=sha256(CONTENT))
    models.fetch(tmp_path, [right], lambda line: None)
    # Fetched again, it must be what it was, whatever the config says.
    (tmp_path / plain.file).unlink()
    server.files["/weights"] = CONTENT[::-1]
    assert "what was first fetched" in refusal(tmp_path, plain)
    assert not (tmp_path / plain.file).exists()


def test_of_the_archive_only_what_is_wanted(tmp_path, server, said):
    files = {CHECKPOINT: b"weights", REGRESSOR: b"regressor", "data/else.pkl": b"other"}
    away, device = tarfile.TarInfo("../away"), tarfile.TarInfo("data/pipe")
    device.type = tarfile.FIFOTYPE
    server.files["/a.tar.gz"] = archive(files, away, device)
    source = Source(f"{server.url}/a.tar.gz", "hmr2_data.tar.gz", (CHECKPOINT, REGRESSOR))
    folder = tmp_path / "models"
    models.fetch(folder, [source], said.append)
    assert (folder / CHECKPOINT).read_bytes() == b"weights" and (folder / REGRESSOR).read_bytes() == b"regressor"
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {f"models/{name}" for name in (CHECKPOINT, REGRESSOR, SUMS)}
    assert (folder / SUMS).read_text().splitlines() == [
        f"{sha256(b'regressor')}  {REGRESSOR}",
        f"{sha256(server.files['/a.tar.gz'])}  hmr2_data.tar.gz",
        f"{sha256(b'weights')}  {CHECKPOINT}",
    ]
    models.fetch(folder, [source], said.append)
    assert len(server.asked) == 1


def test_archives_that_are_not_hmr2s(tmp_path, server):
    link = tarfile.TarInfo(CHECKPOINT)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    source = Source(f"{server.url}/a.tar.gz", "hmr2_data.tar.gz", (CHECKPOINT, REGRESSOR))
    for content, sentence in (
        (archive({REGRESSOR: b"regressor"}), f"it lacks {CHECKPOINT}"),
        (archive({REGRESSOR: b"regressor"}, link), f"it lacks {CHECKPOINT}"),
        (archive({CHECKPOINT: CONTENT, REGRESSOR: b"regressor"})[:-1000], "Cannot unpack"),
        (b"<html>no longer here</html>", "Cannot unpack"),
    ):
        server.files["/a.tar.gz"] = content
        assert sentence in refusal(tmp_path, source)
        (tmp_path / "hmr2_data.tar.gz.part").unlink()  # as the sentence advises
        assert not (tmp_path / CHECKPOINT).exists() and not (tmp_path / CHECKPOINT).is_symlink()
        assert not [path for path in tmp_path.iterdir() if path.is_dir() and path.name.startswith("tmp")]


# Without the files


def test_what_is_missing(tmp_path):
    settings = {"backend": "hmr2", "hmr2": {"models": str(tmp_path), "sha256": ""}}
    assert models.missing(settings | {"backend": "mediapipe"}) == ""
    sentence = models.missing(settings)
    assert "fetch_models` for " in sentence and SMPL in sentence and sentence.count(". ") == 0
    for name in (CHECKPOINT, REGRESSOR):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sentence = models.missing(settings)
    assert "fetch_models" not in sentence and "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl" in sentence
    assert f"to {tmp_path}/data/smpl/SMPL_NEUTRAL.pkl." in sentence
    (tmp_path / "data/smpl").mkdir()
    (tmp_path / "data/smpl/SMPL_NEUTRAL.npz").touch()
    assert models.missing(settings) == ""
    assert models.body(tmp_path).name == "SMPL_NEUTRAL.npz"


def test_the_pose_predictors_statistics_are_beside_it_where_they_are_looked_for():
    assert Path(models.POSE_STATISTICS).parent == Path(models.POSE_PREDICTOR).parent


def test_sources_are_those_of_the_config():
    archive, *others = models.sources({"hmr2": {"sha256": "AB" * 32}})
    assert archive.sha256 == "ab" * 32 and archive.files == (CHECKPOINT, REGRESSOR)
    assert not any(source.sha256 for source in others)
    assert all(source.url.startswith("https://") for source in (archive, *others))


def test_the_workflow_stops_before_any_job_and_fetches(tmp_path, server):
    workflow = Workflow.new(tmp_path / "repository", {"characters": {"ada": {"anny": {}}}})
    assert workflow.run("--cores", "1", "--dry-run").status == 0  # nobody else needs the files
    workflow.change("tracking.backend", "hmr2")
    run = workflow.run("--cores", "1")
    assert run.status != 0 and not run.started
    (sentence,) = run.sentences
    assert sentence.startswith("Config: tracking.backend is hmr2, whose files are not all there: ") and SMPL in sentence

    server.files["/4dhumans/hmr2_data.tar.gz"] = archive({CHECKPOINT: b"weights", REGRESSOR: b"regressor"})
    for name in ("weights/pose_predictor_40006.ckpt", "3D/mean_std.npy"):
        server.files[f"/phalp/{name}"] = b"phalp"
    workflow.replace("src/pose_factory/hmr2/models.py", "https://www.cs.utexas.edu/~pavlakos", server.url)
    run = workflow.run("--cores", "1", "fetch_models")
    assert run.status == 0, run.console
    assert "hmr2_data.tar.gz: 100% of" in run.console and "One file is left for you to get." in run.console
    assert (workflow.root / "models" / CHECKPOINT).read_bytes() == b"weights"
    assert (workflow.root / "models" / models.POSE_PREDICTOR).read_bytes() == b"phalp"

    run = workflow.run("--cores", "1")
    assert run.status != 0 and not run.started
    assert "fetch_models" not in run.sentences[0] and SMPL in run.sentences[0]
