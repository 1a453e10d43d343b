"""The code hash: what changes it, and what does not."""

from pathlib import Path

import pytest

from pose_factory.code_hash import code_hash
from pose_factory.errors import PoseFactoryError

FILES = {
    "script.py": "from pack.near import work\nwork()\n",
    "pack/__init__.py": '"""A package."""\n',
    "pack/near.py": "def work():\n    from pack import deep\n    return deep.value() + 1\n",
    "pack/deep.py": "from .inner.core import VALUE\n\n\ndef value():\n    return VALUE\n",
    "pack/inner/__init__.py": "",
    "pack/inner/core.py": "from .. import base\nVALUE = base.ONE\n",
    "pack/inner/maps/rig.json": "{}",
    "pack/base.py": "ONE = 1\nPLUGINS = {'one': 'pack.plugin'}\n",
    "pack/table.json": "[1]",
    "pack/plugin.py": "x = 1\n",
    "pack/unused.py": "x = 1\n",
    "pack/other/__init__.py": "",
    "pack/other/data.json": "{}",
}


def hash_of(folder: Path, changes: dict[str, str] | None = None) -> str:
    """The hash of a fresh copy of FILES with `changes`; each copy has its own folder, as files are read once."""
    folder = folder / str(len(list(folder.iterdir())))
    for name, text in (FILES | (changes or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return code_hash(folder / "script.py", folder / "pack")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("script.py", "from pack.near import work  # a comment\n\n\nwork( )\n"),
        ("pack/__init__.py", '"""Another docstring."""\n'),
        (
            "pack/near.py",
            'def work():\n    """What it does."""\n    from pack import deep\n    return (deep.value() + 1)\n',
        ),
        ("pack/unused.py", "x = 2\n"),
        ("pack/other/data.json", "[]"),
        ("pack/__pycache__/deep.cpython-311.pyc", "bytes"),
        ("pack/.deep.py.swp", "an editor's"),
        ("outside.json", "{}"),
    ],
)
def test_comments_docstrings_formatting_and_unrelated_files_do_not_count(tmp_path, name, text):
    assert hash_of(tmp_path, {name: text}) == hash_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("script.py", "from pack.near import work\nwork(1)\n"),
        ("pack/__init__.py", "x = 1\n"),
        ("pack/near.py", FILES["pack/near.py"].replace("+ 1", "+ 2")),
        ("pack/deep.py", FILES["pack/deep.py"].replace("return VALUE", "return -VALUE")),
        ("pack/inner/__init__.py", "x = 1\n"),
        ("pack/inner/core.py", FILES["pack/inner/core.py"] + "VALUE = 2\n"),
        ("pack/base.py", FILES["pack/base.py"].replace("1", "2")),
        ("pack/plugin.py", "x = 2\n"),
        ("pack/table.json", "[2]"),
        ("pack/inner/maps/rig.json", "[]"),
        ("pack/inner/maps/new.json", "{}"),
    ],
)
def test_code_and_data_at_any_depth_count(tmp_path, name, text):
    assert hash_of(tmp_path, {name: text}) != hash_of(tmp_path)


def test_two_values_of_one_file_hash_alike_wherever_they_lie(tmp_path):
    assert hash_of(tmp_path) == hash_of(tmp_path)
    assert len(hash_of(tmp_path)) == 64


def test_modules_that_import_each_other_are_hashed_once(tmp_path):
    first = hash_of(tmp_path, {"pack/base.py": "import pack.near\nONE = 1\n"})
    assert first != hash_of(tmp_path)


@pytest.mark.parametrize("text", ["def broken(:\n", "x = 1\0"])
def test_unparseable_source_is_an_error_that_names_the_file(tmp_path, text):
    with pytest.raises(PoseFactoryError, match=r"deep\.py is not valid Python: .*; correct it\.$"):
        hash_of(tmp_path, {"pack/deep.py": text})


def test_a_missing_script_is_an_error(tmp_path):
    with pytest.raises(PoseFactoryError, match=r"Cannot read the code in .*absent\.py: No such file or directory\."):
        code_hash(tmp_path / "absent.py")


def test_the_package_itself_is_followed(tmp_path):
    script, other = tmp_path / "a.py", tmp_path / "b.py"
    script.write_text("from pose_factory.config import load\n")
    other.write_text("from pose_factory.files import write_json\n")
    assert code_hash(script) != code_hash(other)
