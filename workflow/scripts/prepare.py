"""One character's source -> character.blend and character.json."""

from pathlib import Path

from pose_factory.blender.prepare import prepare
from pose_factory.files import atomic, write_json
from pose_factory.job import job

with job(snakemake):
    with atomic(Path(snakemake.output.blend)) as blend:
        facts = prepare(snakemake.params.source, blend)
    write_json(snakemake.output.facts, facts)
