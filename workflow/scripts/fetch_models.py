"""HMR2's files that may be downloaded -> the folder of models, resuming where an earlier run stopped."""

import os

from pose_factory.hmr2 import models
from pose_factory.job import job

console = os.dup(2)  # a job's own goes to its log, and a download of gigabytes should be seen to go on


def say(line: str) -> None:
    print(line, flush=True)
    os.write(console, f"{line}\n".encode())


with job(snakemake):
    settings = snakemake.params.settings
    models.fetch(models.folder(settings), models.sources(settings), say)
