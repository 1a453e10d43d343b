"""The prepared members of a scene -> character.blend and character.json of them all."""

from pathlib import Path

from pose_factory.blender.staging import stage
from pose_factory.files import atomic, read_json, write_json
from pose_factory.job import job

with job(snakemake):
    blends = map(Path, snakemake.input.blends)
    prepared = zip(blends, map(read_json, snakemake.input.facts), strict=True)
    members = dict(zip(snakemake.params.members, prepared, strict=True))
    with atomic(Path(snakemake.output.blend)) as blend:
        facts = stage(snakemake.params.scene, members, blend)
    write_json(snakemake.output.facts, facts)
