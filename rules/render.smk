# Once per view: the frames.


rule render:
    input:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
        bounds=rules.bounds.output[0],
        camera=rules.camera.output[0],
        background=lambda wildcards: background_of(wildcards),
    output:
        frames=directory(view("frames")),
        facts=view("render.json"),
    log:
        view("logs/render.log"),
    benchmark:
        view("benchmarks/render.tsv")
    conda:
        "../envs/blender.yaml"
    # Two views at a time keep all cores busy: while one starts Blender, the other renders.
    threads: max(1, (workflow.resource_settings.cores or 1) // 2)
    resources:
        gpu=RENDER_GPUS,
    params:
        settings=RENDERING,
        variation=drawn("light", "background", "ground", "noise", "motion_blur"),
        # A picture replaced by an older one is not newer than what was made with it.
        sizes=lambda wildcards: [os.path.getsize(file) for file in background_of(wildcards)],
        code=code("render.py"),
    script:
        "../workflow/scripts/render.py"
