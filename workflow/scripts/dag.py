"""The workflow as it stands -> rulegraph.svg and, coloured by what is fresh and what is stale, jobgraph.svg."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pose_factory.errors import PoseFactoryError
from pose_factory.job import job
from pose_factory.review import dag


def graph(*arguments: str) -> str:
    """The DOT text that Snakemake prints for this workflow and config."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(snakemake.params.config, config)
        config.flush()
        command = [sys.executable, "-m", "snakemake", "--snakefile", snakemake.params.snakefile, "--nolock"]
        done = subprocess.run([*command, "--configfile", config.name, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PoseFactoryError(f"Snakemake cannot draw the workflow: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


with job(snakemake):
    folder = Path(snakemake.params.folder)
    folder.mkdir(parents=True, exist_ok=True)
    dag.render_svg(dag.rule_graph(graph("--rulegraph")), folder / "rulegraph.svg")
    dag.render_svg(dag.job_graph(graph("--dag")), folder / "jobgraph.svg")
