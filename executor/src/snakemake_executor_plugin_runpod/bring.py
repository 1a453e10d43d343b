"""Bring home what stayed at the remote: python -m snakemake_executor_plugin_runpod.bring FOLDER..."""

import json
import sys
from pathlib import Path

from .errors import RunpodError
from .exchange import PLACEHOLDER, Exchange
from .remote import Remote


def bring(folder: Path) -> None:
    """Replace a folder's placeholder by the files that it stands for.

    Raises:
        RunpodError: it has none, or the files cannot be fetched.
    """
    placeholder = folder / PLACEHOLDER
    if not placeholder.is_file():
        raise RunpodError(f"{folder} has no {PLACEHOLDER}, so nothing of it stayed at a remote.")
    facts = json.loads(placeholder.read_text())
    Exchange(Remote(facts["remote"])).pull(facts["manifest"], folder)
    placeholder.unlink()


def main() -> None:
    for folder in sys.argv[1:]:
        try:
            bring(Path(folder))
        except RunpodError as error:
            sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
