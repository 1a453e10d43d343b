"""What can be said of the worker's image without building it."""

import fnmatch
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, (word, rest), with continued lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def commands() -> list[list[str]]:
    """The words of each command that the build runs."""
    return [shlex.split(command) for rest in of("RUN") for command in rest.split("&&")]


def copied() -> list[str]:
    return [path for rest in of("COPY") for path in rest.split()[:-1]]


def test_python_is_the_one_that_the_project_needs():
    (base,) = of("FROM")
    version = re.search(r'requires-python = "==(\d+\.\d+)\.\*"', (ROOT / "pyproject.toml").read_text())[1]
    assert base.startswith(f"python:{version}-")


@pytest.mark.parametrize("path", copied())
def test_what_is_copied_exists_and_reaches_the_build(path):
    assert (ROOT / path).exists()
    let_in = False
    for pattern in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines():
        if not pattern.startswith("#") and fnmatch.fnmatch(path, pattern.removeprefix("!")):
            let_in = pattern.startswith("!")
    assert let_in


def test_nothing_else_reaches_the_build():
    """Above all no key."""
    lines = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")][0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(copied())


def test_system_libraries_are_those_of_the_set_up():
    assert ["python", "setup/system.py"] in commands()
    assert not [words for words in commands() if words[0].startswith("apt")]


def test_packages_are_the_projects_at_their_pinned_versions():
    installs = [words for words in commands() if words[0] == "pip"]
    assert installs == [["pip", "install", "--constraint", "constraints.txt", folder] for folder in (".", "./executor")]


def test_the_project_installs_without_its_code(tmp_path):
    """As in the image: from pyproject.toml and an empty src."""
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", tmp_path / "site", "."], cwd=tmp_path, check=True, capture_output=True)
    assert [path.suffix for path in (tmp_path / "site").iterdir()] == [".dist-info"]


def test_anny_is_prepared_as_the_set_up_does_it():
    (code,) = [words[2] for words in commands() if words[:2] == ["python", "-c"]]
    assert f"-c '{code}'" in (ROOT / "setup" / "setup.sh").read_text()


def test_the_image_runs_the_worker():
    (command,) = of("CMD")
    python, option, module = json.loads(command)
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module)


def test_the_build_command_of_the_readme_names_the_dockerfile():
    block = re.search(r"```sh\n(docker build .*?)\n", (DOCKER / "README.md").read_text())[1]
    words = shlex.split(block)
    assert (ROOT / words[words.index("--file") + 1]).samefile(DOCKER / "Dockerfile")
    assert words[-1] == "."


def test_every_variable_of_the_readme_is_read():
    sources = "".join(path.read_text() for path in (ROOT / "executor" / "src").rglob("*.py"))
    rows = re.findall(r"^\| (`[^|]*?) \|", (DOCKER / "README.md").read_text(), re.MULTILINE)
    variables = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(variables) == 6
    assert [name for name in variables if f'"{name}"' not in sources] == []
