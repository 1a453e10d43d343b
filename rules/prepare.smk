# Once per character: any source becomes a metric, upright character on the floor, with its own frame range. A scene is
# put together from such characters, and from then on is one itself.


rule prepare:
    input:
        lambda wildcards: sources_of(wildcards.character),
    output:
        blend=f"{RESULTS}/{{character}}/character.blend",
        facts=f"{RESULTS}/{{character}}/character.json",
    log:
        f"{RESULTS}/{{character}}/logs/prepare.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/prepare.tsv"
    wildcard_constraints:
        character=one_of(PREPARED),
    conda:
        "../envs/blender.yaml"
    params:
        source=lambda wildcards: PREPARED[wildcards.character],
        # A file replaced by an older one, as from a backup, is not newer than what was made of it.
        sizes=lambda wildcards: [os.path.getsize(file) for file in user_files_of(wildcards.character)],
        code=code("prepare.py"),
    script:
        "../workflow/scripts/prepare.py"


rule prepare_scene:
    input:
        blends=lambda wildcards: of_members(wildcards.character, "character.blend"),
        facts=lambda wildcards: of_members(wildcards.character, "character.json"),
    output:
        blend=rules.prepare.output.blend,
        facts=rules.prepare.output.facts,
    log:
        f"{RESULTS}/{{character}}/logs/prepare_scene.log",
    benchmark:
        f"{RESULTS}/{{character}}/benchmarks/prepare_scene.tsv"
    wildcard_constraints:
        character=one_of(SCENES),
    conda:
        "../envs/blender.yaml"
    params:
        scene=lambda wildcards: SCENES[wildcards.character],
        members=lambda wildcards: members_of(wildcards.character),
        code=code("prepare_scene.py"),
    script:
        "../workflow/scripts/prepare_scene.py"
