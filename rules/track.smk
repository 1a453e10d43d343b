# Once per view: the tracker that the config names, on the frames alone.


rule track:
    input:
        frames=rules.render.output.frames,
        facts=rules.render.output.facts,
    output:
        tracks=view("tracks.parquet"),
        people=view("people.parquet"),
        report=view("tracking.json"),
    log:
        view("logs/track.log"),
    benchmark:
        view("benchmarks/track.tsv")
    conda:
        "../envs/tracking.yaml"
    resources:
        gpu=TRACK_GPUS,
    params:
        settings=TRACKING,
        code=code("track.py"),
    script:
        "../workflow/scripts/track.py"
