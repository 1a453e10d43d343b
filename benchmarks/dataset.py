"""What a labelled dataset costs: time and bytes of an image by engine and by pass, and memory for long motions; see
README.md beside this file."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())
VIEW = "results/eve/front"
STAGES = {
    "prepare": "results/eve/character.json",
    "bounds": "results/eve/bounds.json",
    "record_motion": "results/eve/motion.npz",
    "ground_truth": f"{VIEW}/ground_truth.parquet",
    "render": f"{VIEW}/render.json",
}
"""Rules that go through all frames of a motion, in the order in which they need each other, and a file of each."""


class Cost(NamedTuple):
    """Of one job: seconds from start to end, and the most memory that one of its processes had, bytes."""

    seconds: float
    memory: int


def passes() -> list[str]:
    """The passes that the config knows."""
    known = SCHEMA["properties"]["render"]["properties"].get("passes")
    return known["items"]["enum"] if known else []


def config(frames: int, size: int, **render) -> dict:
    """An Anny body that dances for so many frames, filmed from the front in pictures of `size` pixels."""
    return {
        "characters": {"eve": {"anny": {"motion": "dance", "frames": frames, "fps": 24}}},
        "cameras": {"resolution": [size, size], "angles": {"front": 0}},
        "render": {"device": "cpu", **render},
    }


def make(folder: Path, settings: dict, rule: str, target: str) -> Cost:
    """Let the workflow make `target`, which `rule` makes, once more in `folder`, after all that it needs."""
    file = folder / "config" / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings))
    run = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "all", "--quiet", "all"]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*run, "--omit-from", rule, "--", target], check=True, **quiet)
    process = subprocess.Popen([*run, "--forcerun", rule, "--", target], **quiet)
    _, status, usage = os.wait4(process.pid, 0)  # whose memory is the most of any of the processes below it
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    benchmark = (folder / target).parent / "benchmarks" / f"{rule}.tsv"
    return Cost(float(pd.read_csv(benchmark, sep="\t").s.iloc[0]), 1024 * usage.ru_maxrss)


def bytes_each(folder: Path) -> float:
    """The mean size of the files in `folder`."""
    sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    return sum(sizes) / len(sizes)


def report_engines(folder: Path, engines: Iterable[str], frames: int, size: int, repeats: int, say) -> None:
    """Print what an image of each engine costs, beside the first."""
    say(f"\n{frames} images of {size} pixels    images/s   kB an image   times {(engines := list(engines))[0]}")
    first = None
    for engine in engines:
        settings = config(frames, size, engine=engine)
        seconds = min(make(folder, settings, "render", f"{VIEW}/render.json").seconds for _ in range(repeats))
        first = first or seconds
        kilobytes = bytes_each(folder / VIEW / "frames") / 1000
        say(f"  {engine:24s} {frames / seconds:8.2f} {kilobytes:13.1f} {seconds / first:12.3g}")


def report_passes(folder: Path, frames: int, size: int, repeats: int, say) -> None:
    """Print what each pass costs by itself, and all together, beside the job that renders the colours (Cycles)."""
    if not passes():
        say("\nThis workflow has no passes.")
        return
    colour = min(make(folder, config(frames, size), "render", f"{VIEW}/render.json").seconds for _ in range(repeats))
    kilobytes = bytes_each(folder / VIEW / "frames") / 1000
    say("\nPasses                     images/s   kB an image   times colour   bytes, times colour's")
    say(f"  {'colour (cycles)':24s} {frames / colour:8.2f} {kilobytes:13.1f} {1:14.3g} {1:14.3g}")
    for wanted in [*([name] for name in passes()), passes()]:
        settings = config(frames, size, passes=wanted)
        seconds = min(make(folder, settings, "passes", f"{VIEW}/passes.json").seconds for _ in range(repeats))
        each = sum(bytes_each(folder / VIEW / "passes" / name) for name in wanted) / 1000
        name = wanted[0] if len(wanted) == 1 else "all of them"
        figures = f"{frames / seconds:8.2f} {each:13.1f} {seconds / colour:14.3g} {each / kilobytes:14.3g}"
        say(f"  {name:24s} {figures}")


def report_memory(lengths: list[int], say) -> None:
    """Print how much memory and time the rules that go through a motion take for motions of these lengths."""
    say("\nMost memory, MB (seconds)" + "".join(f"{frames:14d} frames" for frames in lengths) + "   times the first")
    with TemporaryDirectory() as folder:
        for rule, target in STAGES.items():
            costs = [
                make(Path(folder, str(frames)), config(frames, 64, samples=1, denoise=False), rule, target)
                for frames in lengths
            ]
            figures = "".join(f"{cost.memory / 1e6:12.0f} ({cost.seconds:6.1f})" for cost in costs)
            say(f"  {rule:23s} {figures} {costs[-1].memory / costs[0].memory:15.3g}")


def main() -> None:
    """Run what is asked for: by default what images cost; memory takes longer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=["cycles", "workbench"], help="the first is the baseline")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=384, help="of the images, pixels")
    parser.add_argument("--repeats", type=int, default=2, help="how often each is timed; the fastest counts")
    parser.add_argument("--memory", type=int, nargs="+", metavar="FRAMES", help="measure memory for these lengths")
    given = parser.parse_args()
    say = partial(print, flush=True)
    say(f"Load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if given.memory:
        report_memory(given.memory, say)
    else:
        with TemporaryDirectory() as folder:
            report_engines(Path(folder), given.engines, given.frames, given.size, given.repeats, say)
            report_passes(Path(folder), given.frames, given.size, given.repeats, say)
    say(f"Load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
