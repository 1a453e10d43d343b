"""Reading pickles that others made without running what is in them.

A pickle may name any function of any module and have it called. Here it gets the few that the caller knows; all other
classes, as of a configuration kept beside the weights, become `Inert` objects, which take everything and do nothing;
and the standard library, where the dangerous functions are, is refused but for a few types. Nothing is ever imported.
"""

import pickle
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping
from typing import Any, BinaryIO

UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    MemoryError,
    OverflowError,
)
"""What a damaged or hostile pickle, or archive of them, may make of its reader."""
_TYPES = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": {
        "bool",
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "float",
        "int",
        "list",
        "object",
        "set",
        "str",
        "tuple",
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "timedelta"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "typing": {"Any"},
}
"""Of the standard library: what configurations, numbers and old pickles hold. They become inert, too."""


class Inert(dict):
    """In place of an object whose class is not known: takes all that a pickle does to an object, and keeps nothing."""

    def __new__(cls, *_, **__) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *_, **__) -> None:
        super().__init__()

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def _ignore(self, *_) -> None:
        pass

    __setstate__ = append = extend = add = _ignore
    __hash__ = object.__hash__


def unpickler(known: Mapping[tuple[str, str], Any]) -> type[pickle.Unpickler]:
    """A class of unpicklers that knows these objects by (module, name), and no others; UNREADABLE is what it raises."""

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            # Python 2's names, by which protocols up to 2 go, as the standard library itself translates them
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            if (module, name) in known:
                return known[module, name]
            package = module.partition(".")[0]
            if package in sys.stdlib_module_names and name not in _TYPES.get(module, ()):
                raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which no such file needs")
            return type(name, (Inert,), {"__module__": module})

    return Restricted


def load(file: BinaryIO, known: Mapping[tuple[str, str], Any]) -> Any:
    """The object in a pickle of Python 2 or 3; UNREADABLE is what it raises."""
    return unpickler(known)(file, encoding="latin1").load()
