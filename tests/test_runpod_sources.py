"""Which sources travel to RunPod, by real repositories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_executor_plugin_runpod.errors import RunpodError
from snakemake_executor_plugin_runpod.sources import sources

TRACKED = ["Snakefile", "rules/a.smk", "README.md"]


@pytest.fixture(autouse=True)
def own_git(tmp_path, monkeypatch):
    """No settings of the user's, and no repository around the tests' folders."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "gitconfig").write_text("[user]\nname = a\nemail = a@example.org\n[protocol.file]\nallow = always\n")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "init.defaultBranch=main", *arguments], cwd=root, check=True, capture_output=True)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name.encode("utf-8", "replace").decode())


def repository(root: Path, *names: str) -> Path:
    """A new one with these files, committed."""
    write(root, *names)
    git(root, "init")
    git(root, "add", "--all")
    git(root, "commit", "--message", "All")
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return repository(tmp_path / "root", *TRACKED)


def told(root: Path, *known: str, config=()) -> str:
    with pytest.raises(RunpodError) as error:
        sources(root, known, config)
    sentence = str(error.value)
    assert sentence.endswith(".") and not sentence.endswith("..") and "\n" not in sentence
    return sentence


def test_what_git_tracks_travels(root):
    assert sources(root, [], []) == sources(root, ["Snakefile"], []) == sorted(TRACKED)


def test_what_is_staged_or_modified_travels_and_what_is_gone_does_not(root):
    write(root, "rules/staged.smk")
    git(root, "add", "rules/staged.smk")
    (root / "Snakefile").write_text("modified")
    (root / "README.md").unlink()
    assert sources(root, [], []) == ["Snakefile", "rules/a.smk", "rules/staged.smk"]


def test_known_files_that_git_does_not_track_travel(root):
    """Data beside them do not, nor what git is told to ignore: keys and compiled code may lie beside scripts."""
    write(root, "my.yaml", "ignored/keys.yaml", "data.csv")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", ".gitignore")
    known = ["my.yaml", str(root / "ignored" / "keys.yaml"), "rules/../Snakefile", "gone.yaml"]
    assert sources(root, known, []) == sorted([*TRACKED, ".gitignore", "my.yaml"])


def test_configurations_travel_even_if_they_are_ignored(root):
    """They were given with --configfile."""
    write(root, "my.yaml", "ignored/other.yaml", "ignored/third.yaml")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", ".gitignore")
    config = ["my.yaml", str(root / "ignored" / "other.yaml"), "gone.yaml"]
    expected = sorted([*TRACKED, ".gitignore", "ignored/other.yaml", "my.yaml"])
    assert sources(root, [], config) == sources(root, config, config) == expected


def test_code_that_git_does_not_know_is_named(root):
    write(root, "rules/new.smk", "scripts/a b.py", "notes.txt", "known.py")
    assert told(root, "known.py") == (
        "git does not know rules/new.smk, scripts/a b.py, so it would be missing on RunPod; run git add on it, or put"
        " it in .gitignore if no job needs it."
    )
    write(root, *(f"{index}.py" for index in range(9)))
    assert "0.py, 1.py, 2.py, 3.py, 4.py and 7 more, so" in told(root)


def test_code_that_is_ignored_stays(root):
    write(root, "results/made.py", "deep/local.sh")
    (root / ".gitignore").write_text("/results\n")
    (root / "deep" / ".gitignore").write_text("*\n")
    (root / ".git" / "info" / "exclude").write_text(".gitignore\n")
    write(root, ".snakemake/scripts/copy.py")  # Snakemake's own, which need not be ignored
    assert sources(root, [], []) == sorted(TRACKED)


def test_what_is_outside_is_named(root, tmp_path):
    write(tmp_path, "elsewhere/config.yaml")
    for path in ("../elsewhere/config.yaml", str(tmp_path / "elsewhere" / "config.yaml")):
        sentence = f"../elsewhere/config.yaml cannot travel to RunPod; move it into {root}."
        assert told(root, "Snakefile", path) == told(root, "Snakefile", config=[path]) == sentence


def test_a_folder_of_a_repository_is_a_root_too(root):
    """Of the repository, what is in it travels."""
    write(root, "not asked for.py")
    assert sources(root / "rules", ["a.smk"], []) == ["a.smk"]
    assert told(root / "rules", "../Snakefile").startswith("../Snakefile cannot travel")


def test_submodules_travel(root, tmp_path):
    library = repository(tmp_path / "library", "code.py", "deep/more.py")
    git(root, "submodule", "add", str(library), "library")
    assert sources(root, [], []) == sorted([*TRACKED, ".gitmodules", "library/code.py", "library/deep/more.py"])


def test_conflicts_are_no_concern(root):
    """Git then has three of the file."""
    git(root, "checkout", "-b", "other")
    (root / "Snakefile").write_text("theirs")
    git(root, "commit", "--all", "--message", "Theirs")
    git(root, "checkout", "main")
    (root / "Snakefile").write_text("ours")
    git(root, "commit", "--all", "--message", "Ours")
    with pytest.raises(subprocess.CalledProcessError):
        git(root, "merge", "other")
    assert sources(root, [], []) == sorted(TRACKED)


NAMES = [
    " ",
    "$(touch x);.py",
    '"quoted" \\.py',
    "two\nlines.py",
    "carriage\rreturn.py",
    "日本語.smk",
    "-rf",
    "..py",
    "*",
]


def test_any_name_travels(tmp_path):
    names = [*NAMES, "folder/" + os.fsdecode(b"not UTF-8 \xe9.py")]
    root = repository(tmp_path / "a folder's $HOME", *names)
    assert sources(root, [], []) == sources(root, names, []) == sorted(names)


def test_a_known_name_may_begin_with_dots(root):
    write(root, "..config.yaml", "...more/a.yaml")
    assert sources(root, ["..config.yaml"], ["...more/a.yaml"]) == sorted([*TRACKED, "..config.yaml", "...more/a.yaml"])


def test_without_a_repository_there_is_one_sentence(tmp_path):
    write(tmp_path, "plain/Snakefile")
    assert told(tmp_path / "plain", "Snakefile") == (
        "The sources that travel to RunPod are those of a git repository: not a git repository (or any of the parent"
        " directories): .git."
    )


def test_what_git_refuses_is_one_sentence(root):
    """What it says of its own accord is more than one line."""
    (root / ".git" / "index").write_bytes(b"damaged")
    assert "those of a git repository: " in told(root) and "index" in told(root)


def test_without_git_there_is_one_sentence(root, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert told(root) == "git is needed to find the sources that travel to RunPod; install it."
