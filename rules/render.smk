# Once per view: the frames.


rule render:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
        bounds=rules.bounds.output[0],
        camera=rules.camera.output[0],
    output:
        frames=directory(view("frames")),
        facts=view("render.json"),
    params:
        settings=CONFIG["render"],
        code=code("render.py"),
    log:
        view("logs/render.log"),
    benchmark:
        view("benchmarks/render.tsv")
    conda:
        "../envs/blender.yaml"
    script:
        "../workflow/scripts/render.py"
