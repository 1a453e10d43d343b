"""The set-up: pins that agree with each other, the check of the system, and the progress display."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def pins(requirements: list[str]) -> dict[str, str]:
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", requirement) for requirement in requirements)
    return dict(requirement.split("==") for requirement in requirements)


def run(script: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "setup" / script]
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)


def test_every_dependency_is_pinned_to_the_version_in_the_constraints():
    extras = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
    required = pins(PROJECT["dependencies"]) | pins(extras)
    assert required == {name: CONSTRAINTS.get(name) for name in required}


def test_there_is_one_cv2():
    assert [name for name in CONSTRAINTS if name.startswith("opencv")] == ["opencv-contrib-python"]


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_conda_environments_have_the_same_pins(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    assert "python=3.11" in dependencies
    required = pins(dependencies[-1]["pip"])
    assert required == {name: CONSTRAINTS.get(name) for name in required}


def test_a_complete_system_passes_in_silence():
    done = run("system.py", PATH=os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_program_is_one_sentence_with_its_package():
    done = run("system.py", PATH="/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: dot missing on this system; install") and done.stderr.count("\n") == 1
    assert "graphviz" in done.stderr


SNAKEMAKE = """Building DAG of jobs...
Job stats:
job      count
[Sat Nov 21 00:37:17 2026]
rule render:
    output: results/ada/front/frames
    jobid: 7
    wildcards: character=ada, camera_angle=front
    resources: tmpdir=/tmp

[Sat Nov 21 00:37:18 2026]
localrule summarise:
    jobid: 3
    resources: tmpdir=/tmp

Error: prepare ben: the file is truncated.
Error in rule prepare:
    jobid: 9
    log: results/ben/logs/prepare.log (check log file(s) for error details)

Select jobs to execute...
[Sat Nov  1 00:37:19 2026]
Finished jobid: 7 (Rule: render)
9 of 10 steps (90%) done
Finished jobid: 3 (Rule: summarise)Error: glued.
10 of 10 steps (100%) done
"""


def test_progress_is_a_line_for_each_finished_job_and_hides_no_error():
    lines = [re.sub(r"^ +\d+:\d\d", "TIME", line) for line in run("progress.py", SNAKEMAKE).stdout.splitlines()]
    assert lines == [
        "Job stats:",
        "job      count",
        "Error: prepare ben: the file is truncated.",
        "Error in rule prepare:",
        "    jobid: 9",
        "    log: results/ben/logs/prepare.log (check log file(s) for error details)",
        "TIME   9 of 10  render ada front",
        "Error: glued.",
        "TIME  10 of 10  summarise",
    ]
