"""Time the workflow against the ways it avoids; see README.md beside this file."""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import association
import bounding
import planning
import stages

from pose_factory.blender import scene
from pose_factory.blender.prepare import prepare
from pose_factory.sources import SUFFIXES

FRAMES, SAMPLE = 500, 25
AZIMUTHS = (0, 45, 100)
PEOPLE = (1, 5, 50)
VIEWS = (1, 8)


def characters() -> dict[str, dict]:
    """The sources to measure: an Anny body that dances, and the files of the folder POSE_FACTORY_CHARACTERS."""
    folder = os.environ.get("POSE_FACTORY_CHARACTERS")
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in SUFFIXES) if folder else []
    dancer = {"anny": {"motion": "dance", "frames": FRAMES}}
    return {"Anny": dancer, **{file.name: {"file": str(file)} for file in files}}


def report_bounds(name: str, source: dict, say) -> None:
    """Prepare a character and print what each way of finding its eight cameras costs."""
    with TemporaryDirectory() as folder:
        blend = Path(folder) / "character.blend"
        facts = prepare(source, blend)
        frames = range(facts["first_frame"], facts["last_frame"] + 1)
        middle = max(0, (len(frames) - SAMPLE) // 2)
        sample = frames[middle : middle + SAMPLE]
        scene.open_character(blend)
        seconds = bounding.compare(frames, sample)
        differing = [bounding.differing_pixels(blend, sample, azimuth, Path(folder)) for azimuth in AZIMUTHS]
    say(f"\n{name}: {len(frames)} frames, {facts['people'][0]['vertices']} vertices, 8 cameras   CPU s   times ours")
    for way, what in (
        ("loop", f"(a) per camera, a loop over vertices (from {len(sample)} frames of one camera)"),
        ("vectorised", "(b) per camera, vectorised"),
        ("hull", "(c) once, the hull"),
        ("hull, framing alone", "    of which for one camera more"),
    ):
        value = seconds[way] / (8 if way == "hull, framing alone" else 1)
        say(f"  {what:75s} {value:8.3f} {value / seconds['hull']:10.3g}")
    assert not any(differing), f"{name}: images of (a) and (c) differ in {differing} pixels"
    say(f"  Images through the cameras of (a) and of (c): equal in every pixel, at azimuths {AZIMUTHS}.")


def report_association(say) -> None:
    """Print what it costs to tell who is who."""
    say("\nWho is who, CPU ms a frame   step   costs   published costs   times ours")
    for count in PEOPLE:
        seconds = association.measure(count)
        step, costs, published = (1000 * seconds[part] for part in ("step", "costs", "published"))
        say(f"  {count:3d} people                {step:7.2f} {costs:7.2f} {published:17.2f} {published / costs:12.3g}")


def report_planning(say) -> None:
    """Print what a dry run costs."""
    say("\nDry run of 100 characters    jobs   CPU s   of bare jobs   times bare jobs")
    for views in VIEWS:
        jobs, ours, bare = planning.measure(100, views)
        say(f"  {views} views each            {jobs:8d} {ours:7.2f} {bare:14.2f} {ours / bare:17.3g}")


def report_stages(results: Path, say) -> None:
    """Print where the time of a finished run went."""
    if not any(results.rglob("render.json")):
        say(f"\nThere is no finished run in {results}: run `make demo` first to see where its time goes.")
        return
    table = stages.measured(results)
    say(f"\n{'rule':25s} {'jobs':>5s} {'job seconds':>12s} {'a job':>8s} {'share':>7s}   start-up of a job, CPU s")
    for row in table.itertuples():
        start_up = "" if row.rule == stages.RENDERER else f"{stages.start_up(row.rule):8.2f}"
        figures = f"{row.jobs:5d} {row.seconds:12.1f} {row.seconds / row.jobs:8.2f} {row.share:7.1%} {start_up}"
        say(f"{row.rule:25s} {figures}")
    say(f"All but renderer and tracker: {stages.around(table):.1%} of {table.seconds.sum():.0f} job seconds.")


def main() -> None:
    """Run all of it, with Blender's own chatter kept off the console."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", default="results", help="the folder of a finished run")
    results = parser.parse_args().results
    console = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)

    def say(line: str) -> None:
        print(line, file=console, flush=True)

    for name, source in characters().items():
        report_bounds(name, source, say)
    report_association(say)
    report_planning(say)
    report_stages(Path(results), say)
    os._exit(0)  # a process that has used bpy may hang at its end


if __name__ == "__main__":
    main()
