"""The worker: orders that it does from a real S3 server, by itself and as a process of RunPod's SDK."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
import s3
from fake_runpod import CANCELLED, COMPLETED, FAILED, RUNNING, FakeRunpod, Request
from hypothesis import given
from hypothesis import strategies as st
from snakemake_executor_plugin_runpod import cache, process, worker
from snakemake_executor_plugin_runpod.exchange import Exchange
from snakemake_executor_plugin_runpod.remote import Remote

# rclone-python leaves the pipes to its processes open, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

OBJECTS = "snakemake-runpod-objects"
SECRET_OF_RUNPOD = "rpa_of_the_worker"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def desk(server, tmp_path):
    """Where orders are written, and a worker's environment, which nothing in these tests outlives."""
    work = tmp_path / "work"
    variables = {**server.environment, "RUNPOD_WORK": str(work), "RUNPOD_AI_API_KEY": SECRET_OF_RUNPOD}
    with mock.patch.dict(os.environ, variables):
        yield Desk(Remote(f"r2:{server.bucket}/{tmp_path.name}"), tmp_path / "client", work)


class Desk:
    """An exchange, a client's folder, and the folder of a worker."""

    def __init__(self, remote: Remote, root: Path, work: Path):
        self.exchange, self.root, self.work = Exchange(remote), root, work
        root.mkdir()

    def order(self, command: str, attempt: str = "one", files=(), **facts) -> dict:
        """Write an order; returns the request for it."""
        order = {
            **{"version": 1, "attempt": attempt, "name": "a job", "command": command, "timeout": 60},
            **{"files": self.exchange.push(files, self.root), "outputs": [], "extras": []},
        }
        self.exchange.write_record(attempt, "order", {**order, **facts})
        return {"attempt": attempt, "remote": self.exchange.remote.address}

    def exit(self, attempt: str = "one") -> dict | None:
        return self.exchange.record(attempt, "exit")

    def brought_back(self, folder: Path, what: str = "outputs", attempt: str = "one") -> dict[str, str]:
        """The texts of all files that an attempt brought back, in a new folder."""
        self.exchange.pull(self.exit(attempt)[what], folder)
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    def left(self) -> list[str]:
        """What is in the worker's folder, other than its cache."""
        return [path.name for path in self.work.glob("*") if path.name != OBJECTS]


@pytest.fixture
def off_the_loop(monkeypatch):
    """Whoever uses the remote where an event loop runs would hold up all that the worker has to say to RunPod."""

    def watch(function):
        def watched(*arguments, **options):
            with suppress(RuntimeError):
                asyncio.get_running_loop()
                pytest.fail("the event loop was blocked")
            return function(*arguments, **options)

        return watched

    for name in ("push", "pull"):
        monkeypatch.setattr(Remote, name, watch(getattr(Remote, name)))


def perform(request: dict) -> dict:
    return asyncio.run(worker.handler({"id": "request", "input": request}))


def until(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


# What becomes of an order


def test_a_job_gets_its_files_and_brings_back_what_it_made(desk, off_the_loop, tmp_path):
    names = ["plain.txt", "in/with space 'and' \"quotes\".txt", "in/ünï çødé.txt", "in/$(touch hacked);*?.txt", "-rf"]
    for name in names:
        (desk.root / name).parent.mkdir(exist_ok=True)
        (desk.root / name).write_text(name)
    (desk.root / "tool.sh").write_text("#!/bin/sh\necho made by a tool\n")
    (desk.root / "tool.sh").chmod(0o755)
    (desk.root / "empty").mkdir()
    command = "test -d empty && mkdir -p out/deep && cp -r -- in plain.txt -rf out/ && ./tool.sh > 'out/deep/a b' "
    command += "&& cp tool.sh out/ && echo said && echo loudly >&2 && echo kept > extra.txt"
    request = desk.order(
        command,
        files=["plain.txt", "in", "-rf", "tool.sh", "empty"],
        outputs=["out", "out/deep/a b"],
        extras=["extra.txt", "never made.txt"],
    )
    assert perform(request) == {"attempt": "one", "status": 0}
    expected = {f"out/{name}": name for name in names} | {"out/deep/a b": "made by a tool\n"}
    tool = (desk.root / "tool.sh").read_text()
    assert desk.brought_back(tmp_path / "back") == expected | {"out/tool.sh": tool}
    assert os.access(tmp_path / "back" / "out" / "tool.sh", os.X_OK)
    assert not os.access(tmp_path / "back" / "out" / "plain.txt", os.X_OK)
    assert desk.brought_back(tmp_path / "extras", "extras") == {"extra.txt": "kept\n"}
    assert desk.exchange.log("one") == "said\nloudly\n"
    exit = desk.exit()
    assert (exit["status"], exit["error"]) == (0, None)
    assert exit["machine"].keys() == {"worker", "gpu", "cores"} and exit["machine"]["cores"] >= 1
    assert exit["seconds"].keys() == {"fetch", "run", "push"} and all(time > 0 for time in exit["seconds"].values())
    assert desk.left() == []


def test_a_failed_job_brings_back_its_log_and_extras_but_no_outputs(desk, tmp_path):
    command = "echo why; echo half > out.txt; echo log > job.log; exit 3"
    answer = perform(desk.order(command, outputs=["out.txt"], extras=["job.log"]))
    assert answer == {"attempt": "one", "status": 3, "error": "The job failed with status 3; see its log."}
    assert desk.exit().items() > answer.items()
    assert desk.brought_back(tmp_path / "back") == {}
    assert desk.brought_back(tmp_path / "extras", "extras") == {"job.log": "log\n"}
    assert desk.exchange.log("one") == "why\n"
    assert desk.left() == []


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        ("touch made", 1, "The job ended well, but did not make out/a, b; see its log."),
        ("kill -KILL $$", 137, "The job was killed, probably because the worker's memory was used up."),
        ("kill -USR1 $$", 138, "The job failed with status 138; see its log."),
    ],
)
def test_other_ways_to_fail(desk, command, status, sentence):
    answer = perform(desk.order(command, outputs=["made", "out/a", "b"]))
    assert answer == {"attempt": "one", "status": status, "error": sentence}
    assert desk.exit().items() > answer.items()


def test_a_job_is_stopped_at_its_limit_with_all_its_processes(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.5)
    pid = tmp_path / "pid"
    command = f"bash -c 'trap \"\" TERM; echo $BASHPID > {pid}; while true; do sleep 0.1; done' & echo started; wait"
    answer = perform(desk.order(command, timeout=1))
    sentence = "The job was stopped after 1 s, the limit that its `runtime` sets."
    assert answer == {"attempt": "one", "status": 124, "error": sentence}
    assert not is_alive(int(pid.read_text()))
    assert desk.exchange.log("one").startswith("started")
    assert desk.left() == []


def test_nothing_that_a_job_leaves_running_stays(desk, tmp_path):
    pid = tmp_path / "pid"
    assert perform(desk.order(f"sleep 300 & echo $! > {pid}")) == {"attempt": "one", "status": 0}
    until(lambda: not is_alive(int(pid.read_text())), 5)


def test_a_cancelled_job_ends_with_its_processes_and_claims_nothing(desk, off_the_loop, tmp_path):
    pid = tmp_path / "pid"
    request = desk.order(f"echo begun; sleep 300 & echo $! > {pid}; wait; touch out", outputs=["out"])

    async def cancel_midway() -> None:
        task = asyncio.create_task(worker.handler({"id": "request", "input": request}))
        while not (pid.exists() and pid.read_text()):
            assert not task.done()
            await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_midway())
    assert not is_alive(int(pid.read_text()))
    assert desk.exit() is None
    assert desk.exchange.log("one").startswith("begun\n")
    assert desk.left() == []


def test_a_job_that_is_cancelled_while_it_fetches_leaves_nothing(desk):
    for number in range(30):
        (desk.root / f"{number}.txt").write_text(f"{number}")
    request = desk.order("true", files=[f"{number}.txt" for number in range(30)])

    async def cancel_early() -> None:
        task = asyncio.create_task(worker.handler({"id": "request", "input": request}))
        while not desk.left():
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # impatience makes no difference
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_early())
    assert desk.exit() is None
    assert desk.left() == []


# What is not done


def test_an_attempt_that_has_ended_is_not_done_again(desk, tmp_path):
    request = desk.order(f"echo run >> {tmp_path}/runs; exit 5")
    first = perform(request)
    assert perform(request) == first
    assert first["status"] == 5 and (tmp_path / "runs").read_text() == "run\n"


def test_the_same_attempt_twice_at_once_ends_as_one(desk, tmp_path):
    (desk.root / "in.txt").write_text("in")
    request = desk.order("cat in.txt > out.txt; date +%N >> out.txt; sleep 0.5", files=["in.txt"], outputs=["out.txt"])

    async def twice() -> list[dict]:
        return await asyncio.gather(*(worker.handler({"id": name, "input": request}) for name in "ab"))

    assert asyncio.run(twice()) == [{"attempt": "one", "status": 0}] * 2
    assert desk.brought_back(tmp_path / "back")["out.txt"].startswith("in")
    assert desk.left() == []


def test_the_delivery_that_ends_first_has_the_word(desk, tmp_path):
    request = desk.order(f"touch {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.1; done; exit 3")
    first = {"attempt": "one", "status": 0, "error": None, "machine": {"worker": "the first"}}

    async def be_late() -> dict:
        task = asyncio.create_task(worker.handler({"id": "request", "input": request}))
        while not (tmp_path / "started").exists():
            assert not task.done()
            await asyncio.sleep(0.05)
        await asyncio.to_thread(desk.exchange.write_record, "one", "exit", first)
        (tmp_path / "go").touch()
        return await task

    assert asyncio.run(be_late()) == {"attempt": "one", "status": 0}
    assert desk.exit() == first


def test_an_attempt_that_was_cancelled_does_not_start(desk, tmp_path):
    request = desk.order(f"touch {tmp_path}/ran")
    desk.exchange.write_record("one", "cancelled", {})
    assert perform(request) == {"attempt": "one", "status": -1, "error": "It was cancelled before it started."}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("request_", [None, {}, {"attempt": "a"}, {"attempt": "../a", "remote": "r2:bucket/exchange"}])
def test_a_request_of_somebody_else_is_refused(request_):
    answer = perform(request_)
    assert answer["status"] == -1 and "requests of Snakemake's RunPod executor only" in answer["error"]


def test_a_remote_that_is_none_is_refused():
    answer = perform({"attempt": "one", "remote": "r2:bucket/$(touch hacked)"})
    assert answer["status"] == -1 and "is not NAME:BUCKET/FOLDER" in answer["error"]


def test_an_order_that_is_not_there_or_not_understood_is_a_sentence(desk):
    request = {"attempt": "none", "remote": desk.exchange.remote.address}
    assert "There is no order for the attempt none" in perform(request)["error"]
    answer = perform(desk.order("true", version=2))
    assert answer["error"].startswith("The order has version 2 and this worker knows 1; build its image anew")
    assert desk.exit()["error"] == answer["error"]


def test_files_that_are_gone_from_the_remote_are_a_sentence(desk, server, tmp_path):
    (desk.root / "in.txt").write_text("lost")
    request = desk.order("true", files=["in.txt"])
    for file in (server.root / tmp_path.name / "objects").iterdir():
        file.unlink()
    answer = perform(request)
    assert answer["status"] == -1 and "missing or damaged" in answer["error"]
    assert desk.exit().items() > answer.items()
    assert desk.left() == []


# What a job sees


def test_a_job_sees_no_keys_and_this_python(desk, server):
    command = "env; command -v python; python -c 'import snakemake_executor_plugin_runpod'"
    assert perform(desk.order(command)) == {"attempt": "one", "status": 0}
    log, exit = desk.exchange.log("one"), json.dumps(desk.exit())
    for secret in (*server.secrets, SECRET_OF_RUNPOD):
        assert secret not in log and secret not in exit
    assert not [line for line in log.splitlines() if line.startswith(("R2_", "RCLONE_", "RUNPOD_"))]
    assert log.splitlines()[-1] == str(Path(sys.executable).parent / "python")


def test_keys_that_are_refused_are_a_sentence_without_them(desk, server):
    request = desk.order("true")
    key = "not the key, but a secret"
    with mock.patch.dict(os.environ, {"R2_SECRET_ACCESS_KEY": key}):
        answer = perform(request)
    assert answer["status"] == -1 and "refused the keys" in answer["error"]
    assert not any(secret in answer["error"] for secret in (key, *server.secrets))


# The disk


def test_files_are_kept_for_the_next_job(desk, server, tmp_path):
    (desk.root / "model.bin").write_bytes(bytes(1000))
    requests = [desk.order("test -s model.bin", attempt, files=["model.bin"]) for attempt in ("one", "two")]
    assert perform(requests[0])["status"] == 0
    for file in (server.root / tmp_path.name / "objects").iterdir():
        file.unlink()
    assert perform(requests[1]) == {"attempt": "two", "status": 0}


def test_no_more_is_kept_than_the_limit(desk):
    (desk.root / "model.bin").write_bytes(bytes(1000))
    with mock.patch.dict(os.environ, {"RUNPOD_CACHE_GB": "0.0000005"}):
        answer = perform(desk.order("test -s model.bin", files=["model.bin"]))
    assert answer["status"] == 0
    assert list((desk.work / OBJECTS).iterdir()) == []


def test_a_limit_that_is_no_number_is_a_sentence(desk):
    with mock.patch.dict(os.environ, {"RUNPOD_CACHE_GB": "lots"}):
        answer = perform(desk.order("true"))
    assert answer["error"] == "RUNPOD_CACHE_GB of the endpoint is 'lots', not a number; change it."


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_what_is_kept_is_what_was_used_last(sizes, limit):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for age, size in enumerate(sizes):
            (folder / str(age)).write_bytes(bytes(size))
            os.utime(folder / str(age), (10_000 - age, 10_000 - age))
        cache.prune(folder, limit)
        kept = sorted(int(path.name) for path in folder.iterdir())
        assert kept == list(range(len(kept)))
        assert sum(sizes[: len(kept)]) <= limit
        assert kept == list(range(len(sizes))) or sum(sizes[: len(kept) + 1]) > limit


def test_arrivals_of_a_killed_worker_are_deleted_after_a_day(tmp_path):
    for name in ("today", "yesterday"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    os.utime(tmp_path / "yesterday", (time.time() - 90_000,) * 2)
    cache.prune(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["today"]


@pytest.fixture
def disk(desk):
    """A disk of 4 MB for the worker."""
    desk.work.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(desk.work)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a disk of its own needs the right to mount one ({mounted.stderr.strip()})")
    yield desk.work
    subprocess.run(["umount", "--lazy", str(desk.work)], check=True)


def test_a_disk_that_is_too_small_is_a_sentence(desk, disk):
    (desk.root / "big.bin").write_bytes(os.urandom(5_000_000))
    answer = perform(desk.order("true", files=["big.bin"]))
    assert answer["error"] == (
        "The disk of the worker is too small for the job's 0.005 GB of files; give the endpoint a larger container"
        " disk."
    )
    assert desk.exit().items() > answer.items()
    assert desk.left() == []


def test_what_was_kept_makes_room_for_a_job(desk, disk):
    (disk / OBJECTS).mkdir()
    (disk / OBJECTS / "old").write_bytes(bytes(3_000_000))
    (desk.root / "big.bin").write_bytes(os.urandom(1_500_000))
    assert perform(desk.order("test -s big.bin", files=["big.bin"])) == {"attempt": "one", "status": 0}


def test_only_a_full_disk_counts_as_full():
    assert cache.is_full(OSError(errno.ENOSPC, "")) and cache.is_full(OSError(errno.EDQUOT, ""))
    assert not cache.is_full(OSError(errno.EACCES, ""))


# How far it is


def test_progress_is_what_snakemake_said_last(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"")
    assert worker.progress(log) is None
    log.write_bytes(b"1 of 12 steps (8%) done\nx 2 of 12 steps (17%) done\n3 of 12 of a kind\n" + bytes(60_000))
    assert worker.progress(log) == "1 of 12 steps"
    with log.open("ab") as stream:
        stream.write(bytes(200_000) + b"\n11 of 12 steps (92%) done\n")
    assert worker.progress(log) == "11 of 12 steps"


def test_the_log_arrives_while_the_job_runs(desk, off_the_loop, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0.1)
    monkeypatch.setattr(worker, "LOG_SECONDS", 0.2)
    request = desk.order(f"echo early; until [ -e {tmp_path}/seen ]; do sleep 0.1; done")

    async def look() -> dict:
        task = asyncio.create_task(worker.handler({"id": "request", "input": request}))
        while (await asyncio.to_thread(desk.exchange.log, "one")) != "early\n":
            assert not task.done()
        (tmp_path / "seen").touch()
        return await task

    assert asyncio.run(look())["status"] == 0


# As a process of the SDK

SNAKEFILE = """
rule all:
    input: "out.txt"
rule first:
    output: "first.txt"
    shell: "echo 1 > {output}"
rule second:
    input: "first.txt"
    output: "out.txt"
    shell: "until [ -e '{config[seen]}' ]; do sleep 0.1; done; cat {input} > {output}"
"""


@pytest.fixture
def runpod():
    with FakeRunpod() as fake:
        yield fake


def start(runpod: FakeRunpod, desk: Desk, server) -> str:
    command = [sys.executable, "-m", "snakemake_executor_plugin_runpod.worker"]
    return runpod.start_worker(command, {**server.environment, "RUNPOD_WORK": str(desk.work)})


def submit(runpod: FakeRunpod, request: dict) -> Request:
    return runpod.requests[post(runpod, "run", {"input": request})["id"]]


def post(runpod: FakeRunpod, path: str, body: dict | None = None) -> dict:
    call = urllib.request.Request(
        f"{runpod.base}/{runpod.endpoint}/{path}",
        data=json.dumps(body or {}).encode(),
        headers={"Authorization": f"Bearer {runpod.key}"},
    )
    with urllib.request.urlopen(call, timeout=10) as answer:
        return json.load(answer)


def test_a_job_from_request_to_answer(runpod, desk, server, tmp_path):
    (desk.root / "Snakefile").write_text(SNAKEFILE)
    command = f"python -m snakemake --cores 1 --config seen={tmp_path}/seen"
    good = submit(runpod, desk.order(command, files=["Snakefile"], outputs=["out.txt"]))
    bad = submit(runpod, desk.order("exit 3", "two"))
    name = start(runpod, desk, server)
    until(lambda: good.progress or good.final)
    assert (good.state, good.progress) == (RUNNING, "1 of 3 steps")
    (tmp_path / "seen").touch()
    until(lambda: good.final and bad.final)
    assert (good.state, good.output, good.error) == (COMPLETED, {"attempt": "one", "status": 0}, None)
    assert (bad.state, bad.error) == (FAILED, "The job failed with status 3; see its log.")
    assert desk.brought_back(tmp_path / "back") == {"out.txt": "1\n"}
    assert desk.exit()["machine"]["worker"] == name
    assert "3 of 3 steps (100%) done" in desk.exchange.log("one")
    assert "one: a job" in runpod.worker_log(name)
    assert not any(secret in runpod.worker_log(name) for secret in (*server.secrets, runpod.worker_key))


def test_a_cancelled_request_stops_its_job_and_the_worker_goes_on(runpod, desk, server, tmp_path):
    pid = tmp_path / "pid"
    request = submit(runpod, desk.order(f"echo begun; sleep 300 & echo $! > {pid}; wait"))
    start(runpod, desk, server)
    job = int(until(lambda: pid.exists() and pid.read_text()))
    post(runpod, f"cancel/{request.id}")
    until(lambda: not is_alive(job))
    following = submit(runpod, desk.order("true", "two"))
    until(lambda: following.final)
    assert (request.state, following.state) == (CANCELLED, COMPLETED)
    assert desk.exit() is None
    assert desk.exchange.log("one").startswith("begun\n")
    assert desk.left() == []


def test_a_worker_that_is_told_to_go_stops_its_job_first(runpod, desk, server, tmp_path):
    pids = tmp_path / "pids"
    submit(runpod, desk.order(f"echo begun; sleep 300 & echo $PPID $! > {pids}; wait"))
    name = start(runpod, desk, server)
    worker_, job = map(int, until(lambda: pids.exists() and pids.read_text()).split())
    os.kill(worker_, signal.SIGTERM)
    until(lambda: runpod.worker_status(name) is not None)
    until(lambda: not is_alive(job), 5)
    assert desk.exit() is None
    assert desk.exchange.log("one").startswith("begun\n")
    assert desk.left() == []


def test_another_worker_does_what_a_dead_one_had(runpod, desk, server, tmp_path):
    """The first delivery hangs until its machine is switched off, the second finds the marker and ends."""
    marker = tmp_path / "marker"
    command = f"echo out > out.txt; test -e {marker} || {{ touch {marker}; sleep 300; }}"
    runpod.requeue, runpod.silence_seconds = True, 5
    request = submit(runpod, desk.order(command, outputs=["out.txt"]))
    first = start(runpod, desk, server)
    until(marker.exists)
    runpod.kill_worker(first)
    second = start(runpod, desk, server)
    until(lambda: request.final)
    assert (request.state, request.workers) == (COMPLETED, [first, second])
    assert desk.exit()["machine"]["worker"] == second
    assert desk.brought_back(tmp_path / "back") == {"out.txt": "out\n"}
