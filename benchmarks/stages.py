"""Where the time of a finished run went, from what its jobs left behind."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd

SCRIPTS = Path(__file__).parents[1] / "workflow" / "scripts"
SOURCE = Path(__file__).parents[1] / "src"
RENDERER = "render: the renderer"
TRACKER = "track"


def measured(results: Path) -> pd.DataFrame:
    """A row a rule of the run in the folder `results`: rule, jobs, seconds (of all its jobs together) and share (0..1).

    The render job is two rows: the renderer itself, and what comes before and after its first and last frame.
    Seconds are the jobs' own, from start to end: Snakemake samples CPU time, and too seldom for jobs of a second.
    """
    files = sorted(results.rglob("benchmarks/*.tsv"))
    jobs = pd.DataFrame({"rule": [file.stem for file in files], "seconds": [_seconds(file) for file in files]})
    table = jobs.groupby("rule").seconds.agg(jobs="size", seconds="sum")
    rendering = sum(json.loads(file.read_text())["seconds_rendering"] for file in sorted(results.rglob("render.json")))
    rendered = table.loc["render"]
    table.loc[RENDERER] = [rendered.jobs, rendering]
    table.loc["render", "seconds"] -= rendering
    table["share"] = table.seconds / table.seconds.sum()
    return table.astype({"jobs": int}).sort_values("seconds", ascending=False).reset_index()


def around(table: pd.DataFrame) -> float:
    """The fraction of the jobs' time that is neither renderer nor tracker, from `measured`."""
    return float(table.share[~table.rule.isin([RENDERER, TRACKER])].sum())


def start_up(rule: str) -> float:
    """CPU seconds of starting Python and importing what the script of `rule` does; a tracker loads its own later."""
    body = ast.parse((SCRIPTS / f"{rule}.py").read_text()).body
    imports = [ast.unparse(line) for line in body if isinstance(line, ast.Import | ast.ImportFrom)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [f"import sys; sys.path.insert(0, {str(SOURCE)!r})", "import snakemake.iocontainers", *imports]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _seconds(benchmark: Path) -> float:
    return float(pd.read_csv(benchmark, sep="\t").s.iloc[0])
