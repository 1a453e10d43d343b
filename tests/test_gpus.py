"""A GPU for each job: real processes that take GPUs by name, on a machine that needs none."""

import os
import re
import select
import subprocess
import sys

import pytest

from pose_factory import gpus
from pose_factory.hmr2 import models
from workflow import REPOSITORY, Workflow

HOLDER = """
import os
from pose_factory import gpus
gpu = gpus.take()
print(gpu, os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
input()
"""
SEVERAL = """#!/bin/sh
echo 'GPU 0: NVIDIA A40 (UUID: GPU-aaaa-1)'
echo 'GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)'
echo '  MIG 1g.10gb     Device  0: (UUID: MIG-cccc-3)'
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that takes a GPU of those that CUDA_VISIBLE_DEVICES names, says which, and keeps it."""
    processes = []

    def start(visible: str | None, path: str = os.environ["PATH"]) -> subprocess.Popen:
        environment = {"PYTHONPATH": str(REPOSITORY / "src"), "TMPDIR": str(tmp_path), "PATH": path}
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        command = [sys.executable, "-c", HOLDER]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def said(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


@pytest.mark.parametrize("end", [subprocess.Popen.kill, lambda process: process.stdin.close()])
def test_each_process_has_a_gpu_of_its_own_and_the_third_waits_for_one(holder, end):
    first, second = holder("0, 1"), holder("0, 1")
    names = {said(first): first, said(second): second}
    assert set(names) == {"0 0", "1 1"}
    third = holder("0, 1")
    assert select.select([third.stdout], [], [], 4 * gpus.POLL_SECONDS)[0] == []
    end(names["1 1"])
    assert said(third) == "1 1"


def test_a_gpu_is_chosen_among_those_that_are_visible(holder):
    assert said(holder("5,GPU-x,7")) == "5 5"
    assert said(holder("GPU-x,5")) == "GPU-x GPU-x"
    assert said(holder("5,7")) == "7 7"


@pytest.mark.parametrize("visible", ["", "-1", "3", "NoDevFiles", "2,-1,3"])
def test_where_there_are_not_several_all_stays_as_it_is(holder, visible):
    assert said(holder(visible)) == f"None {visible}".strip()
    assert said(holder(visible)) == f"None {visible}".strip()


def test_without_a_driver_there_is_nothing_to_take(holder, tmp_path):
    assert said(holder(None, path=str(tmp_path))) == "None None"


def test_the_driver_is_asked_where_nothing_is_set(holder, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(SEVERAL)
    program.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    assert {said(holder(None, path)), said(holder(None, path))} == {"GPU-aaaa-1 GPU-aaaa-1", "GPU-bbbb-2 GPU-bbbb-2"}


JOBS = f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "src")!r})

rule all:
    input: "a.txt", "b.txt"

rule work:
    output: "{{name}}.txt"
    log: "{{name}}.log"
    resources: gpu=1
    script: "work.py"
"""
SCRIPT = f"""
import os, sys, time
sys.path.insert(0, {str(REPOSITORY / "src")!r})
from pathlib import Path
from pose_factory.job import job

with job(snakemake):
    Path(snakemake.output[0]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    while len(list(Path().glob("*.txt"))) < 2:
        time.sleep(0.1)  # until the other one has its GPU, too
"""


def test_jobs_side_by_side_have_different_gpus(tmp_path, monkeypatch):
    (tmp_path / "Snakefile").write_text(JOBS)
    (tmp_path / "work.py").write_text(SCRIPT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    run = Workflow(tmp_path).run("--cores", "2", "--resources", "gpu=2")
    assert run.status == 0, run.console
    assert {(tmp_path / name).read_text() for name in ("a.txt", "b.txt")} == {"4", "6"}
    assert "On the GPU 4" in "".join((tmp_path / name).read_text() for name in ("a.log", "b.log"))


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """A view and a film to track, with empty files in the place of HMR2's."""
    root = tmp_path_factory.mktemp("gpus")
    (root / "film.mp4").touch()
    eve = {"anny": {"motion": "walk", "frames": 2}}
    config = {"characters": {"eve": eve}, "videos": {"film": str(root / "film.mp4")}, "cameras": {"angles": ["front"]}}
    workflow = Workflow.new(root / "repository", config)
    for name in (*models.ARCHIVE.files, models.BODIES[0]):
        (workflow.root / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (workflow.root / "models" / name).touch()
    return workflow


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({"render": {"device": "auto"}}, {"render"}),
        ({"render": {"device": "cpu"}}, set()),
        ({"render": {"engine": "workbench"}}, set()),
        ({"render": {"engine": "eevee", "device": "cpu"}}, {"render"}),
        ({"tracking": {"backend": "hmr2"}}, {"render", "track", "track_video"}),
        ({"tracking": {"backend": "hmr2", "hmr2": {"device": "cpu"}}}, {"render"}),
    ],
)
def test_the_config_says_which_jobs_need_a_gpu(workflow, settings, rules):
    for section in ("render", "tracking"):
        workflow.change(section, settings.get(section, {}))
    dry = workflow.run("--cores", "2", "--dry-run")
    assert dry.status == 0, dry.console
    blocks = re.findall(r"^rule (\w+):\n((?:    .*\n)*)", dry.console, re.MULTILINE)
    assert {rule for rule, body in blocks if re.search(r"^    resources: .*\bgpu=1\b", body, re.MULTILINE)} == rules
