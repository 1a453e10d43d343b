"""The command `pose-factory`, as a process."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from pose_factory.bodies.sampling import as_config
from workflow import REPOSITORY, Workflow


def command(*words: str, cwd=None, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pose_factory.cli", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_is_what_the_package_installs():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"pose-factory": "pose_factory.cli:main"}


def test_people_are_the_same_in_every_process(tmp_path):
    first = command("characters", "sample", "--count", "5", "--seed", "7", PYTHONHASHSEED="1")
    assert (first.returncode, first.stderr) == (0, "")
    file = tmp_path / "My Config" / "people.yaml"
    second = command("characters", "sample", "--count", "5", "--seed", "7", "--output", str(file), PYTHONHASHSEED="2")
    assert (second.returncode, second.stdout, second.stderr) == (0, f"wrote 5 people to {file}\n", "")
    assert first.stdout == file.read_text() == as_config(5, 7)


def test_a_file_is_only_replaced_on_demand(tmp_path):
    file = tmp_path / "people.yaml"
    file.write_text("mine")
    words = ["characters", "sample", "--count", "1", "--output", "people.yaml"]
    refused = command(*words, cwd=tmp_path)
    assert refused.returncode == 1 and file.read_text() == "mine"
    assert refused.stderr == (
        "Error: people.yaml is there already: name another file, or replace it with --overwrite.\n"
    )
    assert command(*words, "--overwrite", cwd=tmp_path).returncode == 0
    assert list(yaml.safe_load(file.read_text())["characters"]) == ["person_001"]
    assert [item.name for item in tmp_path.iterdir()] == ["people.yaml"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    done = command("characters", "sample", "--count", "1", "--output", f"{'long' * 99}.yaml", cwd=tmp_path)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert (
        done.stderr
        == f"Error: Cannot write {tmp_path / ('long' * 99)}.yaml: File name too long; give it a shorter name.\n"
    )


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, make):
    make(tmp_path / "people.yaml")
    kind = (tmp_path / "people.yaml").stat().st_mode
    done = command("characters", "sample", "--output", "people.yaml", "--overwrite", cwd=tmp_path)
    told = "Error: people.yaml is no file; name another, or leave --output out for the console.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert (tmp_path / "people.yaml").stat().st_mode == kind and len(list(tmp_path.iterdir())) == 1


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    target, link = tmp_path / "mine" / "people.yaml", tmp_path / "link.yaml"
    link.symlink_to(target)
    words = ["characters", "sample", "--count", "1", "--output", "link.yaml"]
    assert command(*words, cwd=tmp_path).returncode == 1 and not target.exists()
    done = command(*words, "--overwrite", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote 1 person to link.yaml\n")
    assert link.is_symlink() and target.read_text() == as_config(1, 1)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "mine").write_text("")
    done = command("characters", "sample", "--count", "1", "--output", "mine/people.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: Cannot write {tmp_path}/mine/people.yaml: File exists; rename the file that is in the place of its "
        "folder.\n",
    )


def test_a_file_without_a_name_is_told():
    done = command("characters", "sample", "--output", "")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].endswith(
        "error: argument --output: it is empty: name a file, or leave --output out for the console"
    )


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        (("--count", "0"), "from 1 to 10000"),
        (("--count", "many"), "from 1 to 10000"),
        (("--count", "10001"), "from 1 to 10000"),
        (("--seed", "-1"), "of at least 0"),
    ],
)
def test_impossible_numbers_are_told(words, limits):
    done = command("characters", "sample", *words)
    assert done.returncode == 2 and f"'{words[1]}' is not a whole number {limits}" in done.stderr


def test_help_answers_without_loading_what_is_heavy():
    code = "import sys; from pose_factory import cli; cli._parser().format_help(); print(*sorted(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "scipy", "flask", "bpy", "yaml"} & set(done.stdout.split())
    assert "serve" in command("--help").stdout and "--seed" in command("characters", "sample", "--help").stdout


def test_serve_is_the_service():
    done = command("serve", POSE_SERVICE_PORT="none")
    assert done.returncode == 1 and done.stderr.startswith("Error: POSE_SERVICE_PORT")


def test_snakemake_runs_the_people_and_nobody_else(tmp_path):
    """With the very command that the file's header gives."""
    workflow = Workflow.new(
        tmp_path / "repository", yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    )
    written = command("characters", "sample", "--count", "3", "--output", "config/people.yaml", cwd=workflow.root)
    assert written.returncode == 0, written.stderr
    text = (workflow.root / "config" / "people.yaml").read_text()
    assert "#   snakemake --cores all --configfile config/people.yaml\n" in text
    planned = workflow.plan("--configfile", "config/people.yaml", "--until", "prepare")
    assert planned == {f"prepare person_00{number}" for number in (1, 2, 3)}

    impossible = text.replace("age: ", "age: 7", 1)
    assert impossible != text
    (workflow.root / "config" / "people.yaml").write_text(impossible)
    run = workflow.run("--cores", "1", "--configfile", "config/people.yaml")
    assert run.status != 0 and not run.started
    (sentence,) = run.sentences
    assert re.fullmatch(
        r"Config: characters\.person_001\.anny\.phenotype\.age is 70\.\d+, but must be .* at most 1.*", sentence
    )
