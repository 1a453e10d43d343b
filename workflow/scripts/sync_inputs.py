"""A remote character's file, with its parts -> a folder, and the receipt of what was fetched."""

from pathlib import Path

from pose_factory.files import write_json
from pose_factory.job import job
from pose_factory.storage import aloud, inputs, progress

say = aloud()

with job(snakemake):
    # Not a parameter of the rule: another address with the same content is nothing new.
    address = snakemake.config["storage"]["remote"]
    file = snakemake.params.file
    receipt = inputs.fetch(address, file, Path(snakemake.output.files), progress(f"fetching {file}", say))
    write_json(snakemake.output.receipt, receipt)
