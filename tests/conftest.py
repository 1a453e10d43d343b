"""What the modules of tests share: one finished run of the workflow, and a clean end."""

import atexit
import os
import subprocess
import sys
from pathlib import Path

import pytest
from characters import make

from pose_factory.files import read_json
from pose_factory.footage import RenderedFrames
from workflow import Workflow

_status = 1


@atexit.register
def _end() -> None:
    """End here, after all that was registered later: bpy 4.5 may wait for one of its own threads for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)


def pytest_sessionfinish(exitstatus: int) -> None:
    global _status
    _status = int(exitstatus)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workflow:
    """A complete run over two characters and two angles, to be looked at or copied, not changed.

    `xbot` comes from a file with another name and spaces in its path.
    """
    folder: Path = tmp_path_factory.mktemp("finished")
    xbot, doll = make(folder / "My Characters", "with spaces in its name.fbx"), make(folder, "plain.blend")
    with doll.open("ab") as file:
        file.write(bytes(2**20))  # files above 1 MB are a case of their own to Snakemake
    workflow = Workflow.new(
        folder / "repository",
        {
            "characters": {"xbot": {"file": str(xbot)}, "doll": {"file": str(doll)}},
            "cameras": {"resolution": [96, 128], "angles": {"front": 0, "left": 270}},
            "render": {"samples": 1, "denoise": False, "frames": {"step": 4}},
        },
    )
    run = workflow.run("--cores", "2")
    assert run.status == 0, run.console
    return workflow


@pytest.fixture(scope="session")
def person_view(tmp_path_factory) -> Path:
    """A view, rendered and labelled, of a body that trackers find: dancing, from the front."""
    workflow = Workflow.new(
        tmp_path_factory.mktemp("person") / "repository",
        {
            "characters": {"eve": {"anny": {"phenotype": {"gender": 1.0}, "motion": "dance", "frames": 48, "fps": 24}}},
            "cameras": {"resolution": [256, 256], "angles": {"front": 0}},
            "render": {"samples": 1},
        },
    )
    view = "results/eve/front"
    run = workflow.run("--cores", "2", f"{view}/render.json", f"{view}/ground_truth.parquet", "results/eve/motion.npz")
    assert run.status == 0, run.console
    return workflow.root / view


@pytest.fixture(scope="session")
def person_film(person_view) -> RenderedFrames:
    """The film of that view."""
    facts = read_json(person_view / "render.json")
    return RenderedFrames(person_view / "frames", facts["frames"], facts["fps"])


@pytest.fixture
def fresh(finished: Workflow, tmp_path) -> Workflow:
    """The finished run's workflow, in which nothing has run yet."""
    return Workflow.new(tmp_path / "fresh", finished.config)


@pytest.fixture
def disk(tmp_path):
    """A function that mounts, or mounts anew, a disk of this many KiB at the folder it returns."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int, *options: str) -> Path:
        remount = ["remount"] if folder.is_mount() else []
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*remount, f"size={size}k", *options]), "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"NOT TESTED: a disk of its own needs the right to mount one ({done.stderr.strip()})")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
