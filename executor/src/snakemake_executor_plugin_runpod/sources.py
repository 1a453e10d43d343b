"""Which source files a job needs on another machine: all that git tracks here, and those Snakemake knows of."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .errors import RunpodError

# A file of these kinds that git does not know may well be imported, included or read by a job.
CODE = (".py", ".smk", ".yaml", ".yml", ".R", ".jl", ".sh", ".ipynb")


def sources(root: Path, known: Iterable[str], config: Iterable[str] = ()) -> list[str]:
    """The source files below `root`, as relative paths: those that git tracks and that exist, the `known` ones that git
    does not ignore, and the `config` files.

    Raises:
        RunpodError: `root` is not in a git repository; one of the others is outside of it; or there is code that git
            neither tracks nor ignores, which a job might miss.
    """
    known, config = ({os.path.relpath(root / path, root) for path in paths} for paths in (known, config))
    outside = sorted(path for path in known | config if path.split(os.sep)[0] == os.pardir)
    if outside:
        raise RunpodError(f"{_some(outside)} cannot travel to RunPod; move it into {root}.")
    tracked = set(_git(root, "ls-files", "--cached", "--recurse-submodules"))
    stray = [path for path in _git(root, "ls-files", "--others", "--exclude-standard") if path.endswith(CODE)]
    stray = sorted(path for path in set(stray) - known - config if not path.startswith(".snakemake/"))
    if stray:
        raise RunpodError(
            f"git does not know {_some(stray)}, so it would be missing on RunPod; run git add on it, or put it in"
            " .gitignore if no job needs it."
        )
    if ignored := known - tracked:  # such as what lies beside scripts: keys, compiled code
        ignored &= set(_git(root, "ls-files", "--others", "--ignored", "--exclude-standard"))
    return sorted(path for path in (tracked | known) - ignored | config if (root / path).is_file())


def _git(root: Path, *arguments: str) -> list[str]:
    command = ["git", *arguments, "-z", "."]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except FileNotFoundError:
        raise RunpodError("git is needed to find the sources that travel to RunPod; install it.") from None
    except subprocess.CalledProcessError as error:
        reason = os.fsdecode(error.stderr).partition("\n")[0].removeprefix("fatal: ")
        raise RunpodError(f"The sources that travel to RunPod are those of a git repository: {reason}.") from None
    return [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more
