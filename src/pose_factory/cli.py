"""`pose-factory`: the commands beside the workflow."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pose_factory.errors import PoseFactoryError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = _parser().parse_args(arguments)
    try:
        return given.run(given)
    except PoseFactoryError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pose-factory", description="What Pose Factory has beside its workflow.")
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser(
        "serve", help="answer poses over HTTP; set up by environment variables (POSE_SERVICE_PORT, ...)"
    )
    serve.set_defaults(run=_serve)

    characters = commands.add_parser("characters", help="make characters for the config")
    sample = characters.add_subparsers(dest="characters_command", required=True).add_parser(
        "sample", help="draw diverse people and write them as config; see docs/characters.md"
    )
    sample.add_argument("--count", type=_at_least(1), default=20, help="how many people (default: 20)")
    sample.add_argument("--seed", type=_at_least(0), default=1, help="other people for each seed (default: 1)")
    sample.add_argument("--output", type=_file, help="the file to write, as config/people.yaml (default: the console)")
    sample.add_argument("--overwrite", action="store_true", help="replace the file where there is one")
    sample.set_defaults(run=_sample)
    return parser


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a file, or leave --output out for the console")
    return Path(text)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {least}")
        return int(text)

    return number


# What follows is imported where it is needed: `--help` answers at once.


def _serve(given: argparse.Namespace) -> int:
    from pose_factory.service.__main__ import main as serve

    return serve([given.command])


def _sample(given: argparse.Namespace) -> int:
    from pose_factory.bodies.sampling import as_config
    from pose_factory.files import atomic

    if given.output and not given.overwrite and os.path.lexists(given.output):
        raise PoseFactoryError(f"{given.output} is there already: name another file, or replace it with --overwrite.")
    text = as_config(given.count, given.seed)
    if given.output:
        with atomic(given.output) as temporary:
            temporary.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
