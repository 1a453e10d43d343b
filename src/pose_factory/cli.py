"""`pose-factory`: the commands beside the workflow."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pose_factory.errors import PoseFactoryError

MOST = 10_000
"""People in a sample: many more take minutes to draw."""


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
    sample.add_argument("--count", type=_whole(1, MOST), default=20, help="how many people (default: 20)")
    sample.add_argument("--seed", type=_whole(0), default=1, help="other people for each seed (default: 1)")
    sample.add_argument("--output", type=_file, help="the file to write, as config/people.yaml (default: the console)")
    sample.add_argument("--overwrite", action="store_true", help="replace the file where there is one")
    sample.set_defaults(run=_sample)
    return parser


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a file, or leave --output out for the console")
    return Path(text)


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least or most is not None and int(text) > most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number {limits}")
        return int(text)

    return number


# What follows is imported where it is needed: `--help` answers at once.


def _serve(given: argparse.Namespace) -> int:
    from pose_factory.service.__main__ import main as serve

    return serve([given.command])


def _sample(given: argparse.Namespace) -> int:
    from pose_factory.bodies.sampling import as_config
    from pose_factory.files import atomic

    if not given.output:
        sys.stdout.write(as_config(given.count, given.seed))
        return 0
    if os.path.exists(given.output) and not os.path.isfile(given.output):
        raise PoseFactoryError(f"{given.output} is no file; name another, or leave --output out for the console.")
    if os.path.lexists(given.output) and not given.overwrite:
        raise PoseFactoryError(f"{given.output} is there already: name another file, or replace it with --overwrite.")
    with atomic(os.path.realpath(given.output)) as temporary:  # a link stays one
        temporary.write_text(as_config(given.count, given.seed))
    print(f"wrote {given.count} {'person' if given.count == 1 else 'people'} to {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
