"""The results of a character, a video or the dataset -> copies of them at the remote, and the receipt of these."""

from pathlib import Path

from pose_factory.files import write_json
from pose_factory.job import job
from pose_factory.storage import aloud, progress, results

say = aloud()

with job(snakemake):
    here, folders = Path(snakemake.params.results), snakemake.params.folders
    files = results.files_of(here, folders, map(Path, snakemake.input))
    receipt = results.push(snakemake.params.remote, here, files, progress(f"copying {folders[0]}", say))
    write_json(snakemake.output[0], receipt)
    print(f"{len(files)} files are at {receipt['remote']}.")
