# Once per view: the tracker that the config names, on the frames alone.


rule track:
    input:
        frames=rules.render.output.frames,
        facts=rules.render.output.facts,
    output:
        view("tracks.parquet"),
    log:
        view("logs/track.log"),
    benchmark:
        view("benchmarks/track.tsv")
    conda:
        "../envs/tracking.yaml"
    params:
        settings=CONFIG["tracking"],
        code=code("track.py"),
    script:
        "../workflow/scripts/track.py"
