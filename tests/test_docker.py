"""What can be said of the images without building them."""

import fnmatch
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pose_factory.service.settings import Settings

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


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one of the Dockerfile's stages."""
    lines = instructions()
    start = next(index for index, line in enumerate(lines) if line[0] == "FROM" and line[1].endswith(f" AS {name}"))
    length = next((index for index, line in enumerate(lines[start + 1 :]) if line[0] == "FROM"), len(lines))
    return lines[start : start + 1 + length]


def test_the_worker_is_what_is_built_unless_another_is_asked_for():
    assert [rest.split()[-1] for rest in of("FROM")] == ["packages", "service", "worker"]
    assert [rest.split()[0] for rest in of("FROM")[1:]] == ["packages", "packages"]


def test_python_is_the_one_that_the_project_needs():
    base = of("FROM")[0]
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
    """As in the image: from pyproject.toml and an empty src; all that is there is the command, which needs the code."""
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", tmp_path / "site", "."], cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path.suffix or path.name for path in (tmp_path / "site").iterdir()) == [".dist-info", "bin"]


def test_anny_is_prepared_as_the_set_up_does_it():
    (code,) = [words[2] for words in commands() if words[:2] == ["python", "-c"]]
    assert f"-c '{code}'" in (ROOT / "setup" / "setup.sh").read_text()


@pytest.mark.parametrize("name", ["worker", "service"])
def test_an_image_runs_what_it_is_for(name):
    (command,) = [rest for word, rest in stage(name) if word == "CMD"]
    python, option, module, *arguments = json.loads(command)
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module)
    assert arguments == {"worker": [], "service": ["serve"]}[name]


def test_what_the_service_reads_of_the_project_is_in_its_image(tmp_path):
    """With nothing else there it finds its settings, up to the schema of its config, and its page."""
    for word, rest in stage("service"):
        if word == "COPY":
            source, target = rest.split()
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / target)
    code = "import os; from pose_factory.service import app, settings; settings.Settings.from_environment(os.environ);"
    code += "print(settings.__file__, (app.PAGE / 'index.html').exists(), app.OPENAPI.exists())"
    environment = {"PYTHONPATH": str(tmp_path / "src"), "POSE_SERVICE_HOST": "0.0.0.0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "src/pose_factory/service/settings.py"), "True", "True"]


def test_the_service_is_nobody_and_listens_where_it_says():
    said = dict(stage("service"))
    assert said["USER"] == "nobody"
    assert "POSE_SERVICE_HOST=0.0.0.0" in said["ENV"].split()
    assert int(said["EXPOSE"]) == Settings.port


def test_the_build_commands_of_the_readme_name_the_dockerfile_and_its_stages():
    blocks = re.findall(r"```sh\n(docker build .*?)\n", (DOCKER / "README.md").read_text())
    assert len(blocks) == 2
    for block, target in zip(blocks, (None, "service"), strict=True):
        words = shlex.split(block)
        assert (ROOT / words[words.index("--file") + 1]).samefile(DOCKER / "Dockerfile")
        assert words[-1] == "."
        assert (words[words.index("--target") + 1] if "--target" in words else None) == target


def test_every_variable_of_the_readme_is_read():
    sources = "".join(path.read_text() for path in (ROOT / "executor" / "src").rglob("*.py"))
    rows = re.findall(r"^\| (`[^|]*?) \|", (DOCKER / "README.md").read_text(), re.MULTILINE)
    variables = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(variables) == 6
    assert [name for name in variables if f'"{name}"' not in sources] == []
