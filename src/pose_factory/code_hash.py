"""A hash of the code that a rule's script runs, so that a changed function makes exactly its results stale.

Snakemake sees a script's own text but not the modules it imports. This hash covers both, as syntax trees: comments,
docstrings and formatting do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pose_factory.errors import PoseFactoryError

PACKAGE = Path(__file__).resolve().parent


class _Source(NamedTuple):
    digest: str
    imports: frozenset[str]  # dotted names: modules, or names inside modules


@cache
def code_hash(script: Path, package: Path = PACKAGE) -> str:
    """SHA-256 (hex) over `script`, every module of `package` it imports, directly or not, and those modules' data.

    Imports count wherever they stand in the code, also inside functions, and so does text that is a module's full name
    ("package.module", for importlib); a module whose name is put together as the code runs is not seen. Data are the
    files other than Python in a module's folder and in its subfolders that are not packages. Each file is read once in
    the life of a process. Raises PoseFactoryError for a missing file or one that is not valid Python.
    """
    source = _read(script, "", package.name)
    digests = {"": source.digest}
    folders = set()
    waiting = set(source.imports)
    while waiting:
        for name, path in _modules(waiting.pop(), package):
            if name not in digests:
                parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
                source = _read(path, parent, package.name)
                digests[name] = source.digest
                folders.add(path.parent)
                waiting |= source.imports
    for folder in folders:
        digests |= _data(folder, package.parent)
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


@cache
def _modules(name: str, package: Path) -> list[tuple[str, Path]]:
    """The modules that importing the dotted `name` runs: the packages it is in, and itself where it is a module."""
    parts = name.split(".")
    found = []
    for count in range(1, len(parts) + 1):
        path = package.parent.joinpath(*parts[:count])
        candidates = (path / "__init__.py", path.with_suffix(".py"))
        found += [(".".join(parts[:count]), candidate) for candidate in candidates if candidate.is_file()]
    return found


@cache
def _read(path: Path, parent: str, top: str) -> _Source:
    """The source file at `path`, which is in the package `parent` ("" for a script)."""
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise PoseFactoryError(f"Cannot read the code in {path}: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:
        raise PoseFactoryError(f"{path} is not valid Python: {error}; correct it.") from error
    imports = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            anchor = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*anchor, *([node.module] if node.module else [])])
            imports |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{top}."):
            imports.add(node.value)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    own = frozenset(name for name in imports if name.split(".")[0] == top)
    return _Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), own)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if ast.get_docstring(node, clean=False) is not None:
        del node.body[0]


@cache
def _data(folder: Path, root: Path) -> dict[str, str]:
    """The digests of the data files in a package's `folder`, by path below `root`."""
    digests = {}
    for path in folder.iterdir():
        if path.name.startswith((".", "__pycache__")) or path.suffix == ".py":
            continue
        if path.is_file():
            digests[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_dir() and not (path / "__init__.py").exists():
            digests |= _data(path, root)
    return digests
