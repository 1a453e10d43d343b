"""A run on a rented pod: real Snakemake, real rclone and S3 server, and RunPod's SDK against the fake of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from fake_runpod import FakeRunpod
from s3 import serve

from pose_factory import pod
from pose_factory.errors import PoseFactoryError
from workflow import REPOSITORY

SNAKEFILE = """
configfile: "config/config.yaml"
with open("gpus", "w") as file:
    print(workflow.resource_settings.resources.get("gpu"), file=file)

rule all:
    input: expand("results/{name}/front/tracking.json", name=["ann", "eve"])

rule track:
    output: "results/{name}/front/tracking.json"
    log: "results/{name}/front/logs/track.log"
    shell: "date > {log}; sh job {wildcards.name}; cp {log} {output}"
"""
POD = "pod-1a2b"

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader:ResourceWarning")  # rclone-python's


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


@pytest.fixture
def runpod():
    with FakeRunpod() as fake:
        yield fake


class Pod:
    """A folder with a small workflow, whose jobs run the shell script `job`, and all that a pod's environment has."""

    def __init__(self, root: Path, server, runpod):
        self.root, self.server, self.runpod = root, server, runpod
        self.remote, self.kept = f"r2:bucket/{root.name}", server.root / root.name / "results"
        self.environment = {**os.environ, **server.environment, **runpod.client_environment, "RUNPOD_POD_ID": POD}
        self.environment["RCLONE_CONFIG"] = str(root / "none.conf")
        shutil.copytree(REPOSITORY / "profiles", root / "profiles")
        (root / "pod").symlink_to("profiles/pod")
        (root / "Snakefile").write_text(SNAKEFILE)
        (root / "config").mkdir()
        self.configure(self.remote)
        self.job(":")

    def configure(self, remote: str) -> None:
        config = {"characters": {"eve": {"anny": {}}}, "storage": {"remote": remote}}
        (self.root / "config" / "config.yaml").write_text(yaml.safe_dump(config))

    def job(self, script: str) -> None:
        (self.root / "job").write_text(script)

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "pose_factory.pod", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit status and the console of a run, in which no key may be read."""
        process = self.start(*arguments)
        console, _ = process.communicate(timeout=100)
        assert not [secret for secret in (*self.server.secrets, self.runpod.key) if secret in console]
        return process.returncode, console

    def saved(self) -> set[str]:
        """The files at the remote, each of which is what is here."""
        files = {path.relative_to(self.kept) for path in self.kept.rglob("*") if path.is_file()}
        assert all((self.kept / file).read_bytes() == (self.root / "results" / file).read_bytes() for file in files)
        return set(map(str, files))


@pytest.fixture
def rented(tmp_path, server, runpod) -> Pod:
    (tmp_path / tmp_path.name).mkdir()
    return Pod(tmp_path / tmp_path.name, server, runpod)


def of(*names: str) -> set[str]:
    return {f"{name}/front/{file}" for name in names for file in ("tracking.json", "logs/track.log")}


def test_the_pod_ends_once_all_is_saved(rented):
    rented.job(f'test -z "$(ls -A {rented.kept} 2>/dev/null)"')  # nothing is there before the end
    rented.environment["CUDA_VISIBLE_DEVICES"] = "0,1"
    status, console = rented.run("--terminate", "--forcerun", "track")
    assert status == 0, console
    assert rented.saved() == of("ann", "eve")
    assert rented.runpod.terminated == [POD]
    assert (rented.root / "gpus").read_text() == 'Resource("gpu", 2)\n'


def test_without_the_option_it_stays(rented):
    status, console = rented.run("results/eve/front/tracking.json")
    assert status == 0, console
    assert rented.saved() == of("eve")
    assert not rented.runpod.terminated


def test_it_ends_after_failed_jobs_too_with_what_there_is(rented):
    rented.job('test "$1" = ann')
    status, console = rented.run("--terminate")
    assert status == 1, console
    assert rented.saved() == of("ann") | {"eve/front/logs/track.log"}
    assert rented.runpod.terminated == [POD]


def test_it_stays_where_results_cannot_be_saved(rented):
    rented.environment["BUCKET"] = str(rented.server.root)
    rented.job('mv "$BUCKET" "$BUCKET.away.$1"')
    try:
        status, console = rented.run("--terminate", "results/eve/front/tracking.json")
    finally:
        Path(f"{rented.server.root}.away.eve").rename(rented.server.root)
    assert status == 1
    assert f"not all results are at {rented.remote}. {pod.STAYS}" in console
    assert not rented.runpod.terminated


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("remote", "", "Error: --terminate would delete the results with the pod: set the config's storage.remote."),
        ("RUNPOD_POD_ID", "", "Error: --terminate needs RUNPOD_POD_ID in the environment"),
        ("RUNPOD_API_KEY", "", "Error: --terminate needs RUNPOD_API_KEY in the environment"),
        ("R2_SECRET_ACCESS_KEY", "0" * 64, "refused the keys"),
        ("remote", "r2:elsewhere/x", "there is no such bucket"),
    ],
)
def test_what_would_fail_at_the_end_is_told_before_anything_runs(rented, name, value, sentence):
    if name == "remote":
        rented.configure(value)
    else:
        rented.environment[name] = value
    status, console = rented.run("--terminate")
    assert status == 1
    *_, last = console.splitlines()
    assert sentence in last and last.startswith("Error: ")
    assert not (rented.root / "results").exists() and not rented.runpod.terminated


def test_a_dry_run_ends_nothing(rented):
    status, console = rented.run("--terminate", "--dry-run")
    assert status == 0, console
    assert not rented.runpod.terminated and not (rented.root / "results").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_jobs_and_leaves_the_pod(rented, number):
    rented.job("echo $$ > pid.part; mv pid.part pid.$1; exec sleep 100")
    process = rented.start("--terminate", "results/eve/front/tracking.json")
    while not (pid := rented.root / "pid.eve").exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    console, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert f"Interrupted. {pod.STAYS}" in console
    assert not Path("/proc", pid.read_text().strip()).exists()
    assert not rented.runpod.terminated


def test_a_run_without_a_remote_says_where_the_results_are(rented):
    rented.configure("")
    status, console = rented.run()
    assert status == 0
    assert "The results are in results on this pod alone" in console


def test_pictures_are_saved_where_they_are_wanted_and_what_was_fetched_never(rented, monkeypatch):
    kept = {"eve/character.json", "eve/front/tracks.parquet", "eve/logs/prepare.log", "videos/film/video.json"}
    kept |= {"export/README.md", "export/coco/annotations/people_val.json", "export/webdataset/val/eve/eve-0000.tar"}
    kept |= {"export/yolo/images/val/synced/synced_front_0001.png"}
    pictures = {"eve/front/frames/0001.png", "eve/front/passes/depth/0001.exr"}
    left = {"eve/source/eve.fbx", "eve/synced.json", "eve/front/.tracks-x.parquet"}
    left |= {"eve/front/.frames-partial/0001.png", "export/arrays/val/.eve-partial/poses.npz"}
    for file in kept | pictures | left:
        (rented.root / "results" / file).parent.mkdir(parents=True, exist_ok=True)
        (rented.root / "results" / file).write_text(file)
    for name, value in rented.environment.items():
        monkeypatch.setenv(name, value)
    assert pod.save(rented.root / "results", rented.remote, frames=False) == len(kept)
    assert rented.saved() == kept
    assert pod.save(rented.root / "results", rented.remote, frames=True) == len(kept | pictures)
    assert rented.saved() == kept | pictures


@pytest.fixture
def at_runpod(rented, monkeypatch):
    for name, value in rented.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pod.time, "sleep", lambda _: None)
    return rented.runpod


def test_a_busy_service_is_asked_again(at_runpod):
    at_runpod.fail(503, times=2)
    pod.end()
    assert at_runpod.terminated == [POD]


def test_a_lost_answer_is_asked_for_again(at_runpod):
    at_runpod.lose()
    pod.end()
    assert at_runpod.terminated == [POD, POD]


@pytest.mark.parametrize(
    ("status", "calls", "sentence"),
    [(401, 1, "refused the key in RUNPOD_API_KEY"), (503, pod.ATTEMPTS, "RunPod did not end the pod: .*fault")],
)
def test_a_service_that_refuses_is_an_error(at_runpod, status, calls, sentence):
    at_runpod.fail(status, times=100)
    with pytest.raises(PoseFactoryError, match=sentence):
        pod.end()
    assert len(at_runpod.calls) == calls and not at_runpod.terminated


# setup/pod.sh


@pytest.fixture
def clone(tmp_path):
    """A folder with the script, a set-up that is a word, and a Python that runs the shell script `run`."""
    root = tmp_path / "clone"
    for file, text in {
        "setup/setup.sh": "#!/bin/sh\necho set up\n",
        ".venv/bin/python": f'#!/bin/sh\nexec sh {root}/run "$@"\n',
        "run": 'echo "$@"\n',
    }.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
        (root / file).chmod(0o755)
    shutil.copy2(REPOSITORY / "setup" / "pod.sh", root / "setup")
    return root


def test_the_script_sets_up_runs_and_gives_the_status_back(clone):
    (clone / "run").write_text('echo "$@"; exit 3\n')
    command = ["bash", clone / "setup" / "pod.sh", "--terminate", "only one"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "set up\n-m pose_factory.pod --terminate only one\n"
    assert (clone / ".snakemake" / "pod.log").read_text() == done.stdout


def test_a_broken_connection_does_not_end_the_run(clone):
    (clone / "run").write_text("touch running; while [ ! -e go ]; do sleep 0.1; done; echo the end; exit 0\n")
    process = subprocess.Popen(
        ["bash", clone / "setup" / "pod.sh"],
        cwd=clone,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (clone / "running").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGHUP)
    (clone / "go").touch()
    assert "the end" in process.communicate(timeout=20)[0] and process.returncode == 0


def test_a_python_that_is_missing_is_installed(clone, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "grep", "mkdir", "tee", "sh"):
        (programs / name).symlink_to(shutil.which(name))
    for name in ("apt-get", "add-apt-repository"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/called\n')
        (programs / name).chmod(0o755)
    environment = {"PATH": str(programs)}
    command = ["bash", clone / "setup" / "pod.sh"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    last = (tmp_path / "called").read_text().splitlines()[-1]
    assert last == "apt-get install -y --no-install-recommends python3.11 python3.11-venv"
