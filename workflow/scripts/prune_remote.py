"""The receipts of all results -> the list of what else lies at the remote; once that is confirmed, its deletion."""

from pose_factory.errors import PoseFactoryError
from pose_factory.files import read_json
from pose_factory.job import job
from pose_factory.storage import aloud, results

say = aloud()

with job(snakemake):
    remote = snakemake.params.remote
    if snakemake.params.only:
        raise PoseFactoryError("`only` hides results that are to be kept; leave it out.")
    found = results.superfluous(remote, map(read_json, snakemake.input)) if remote else {}
    for file, size in found.items():
        say(f"{size:>12} bytes  {file}")
    if not found:
        say("Nothing to delete: the remote has no results but those of this config.")
    elif snakemake.params.confirmed:
        results.delete(remote, found)
        say(f"Deleted {len(found)} files below {remote}/results.")
    else:
        say(f"These {len(found)} files below {remote}/results would go. To delete them, add: --config confirm=prune")
