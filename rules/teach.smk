"""The teacher's outputs on the training split, for all distillations that share them.

Once for a study where the base or a model of its own teaches; once for a seed where the seed's
checkpoint of a pipeline does, or where each seed draws its own conversations.
"""


def caches(of_each_seed):
    """The tokens whose teacher's outputs lie in a folder of each seed, or of the study."""
    tokens = map(STUDY.cache_token, STUDY.of_kind("distill"))
    return [token for token in tokens if STUDY.of_each_seed(token) == of_each_seed]


def seed_of(wildcards):
    """The seed of a job; the first where it serves all of them."""
    return wildcards.get("seed", STUDY.seeds[0])


def teacher_weights(wildcards):
    """The teacher's own model, where the uncompressed model does not teach."""
    folder = STUDY.teacher_folder(wildcards.token, seed_of(wildcards))
    if folder is None:
        return {}
    manifest = "checkpoint" if wildcards.token in STUDY.taught else "asset"
    weights = ancient(f"{folder}/model.safetensors")
    return {"its_manifest": f"{folder}/{manifest}.json", "its_model": weights}


def teacher_flags(wildcards):
    """Everything that determines a teacher's outputs, in one list."""
    return STUDY.teacher_flags(wildcards.token, seed_of(wildcards))


def teacher_sources(wildcards):
    """The digest of the sources that determine a teacher's outputs."""
    pipeline = STUDY.taught.get(wildcards.token, orderings.BASE)
    return watched.digest(watched.of_reader(STUDY, pipeline, "teach.py"))


rule teach:
    """The outputs of the base, or of a model of its own."""
    input:
        unpack(teacher_weights),
        manifest=f"{BASE}/checkpoint.json",
        model=ancient(f"{BASE}/model.safetensors"),
        text=STUDY.chat,
        splits="results/{study}/splits.json",
        script=of_workflow("src/teach.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/teacher/{token}.safetensors",
    log:
        "logs/{study}/teacher.{token}.log",
    wildcard_constraints:
        token=one_of(caches(of_each_seed=False)),
    resources:
        **asked("teacher {token}"),
        gpu=STUDY.gpus,
    params:
        student=folder_of("manifest"),
        flags=teacher_flags,
        costs="results/{study}/costs/teacher.{token}",
        sources=teacher_sources,
    shell:
        r"""
        python {input.script:q} \
            --student {params.student:q} \
            --text {input.text:q} \
            --splits {input.splits:q} \
            --threads {threads} \
            {params.flags:q} \
            --costs {params.costs:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


use rule teach as teach_of_a_seed with:
    # the outputs of the seed's checkpoint of a pipeline, or on the conversations of the seed
    input:
        unpack(teacher_weights),
        manifest="results/{study}/seed{seed}/checkpoints/base/checkpoint.json",
        model=ancient("results/{study}/seed{seed}/checkpoints/base/model.safetensors"),
        text=STUDY.chat,
        splits=lambda w: STUDY.splits(w.seed),
        script=of_workflow("src/teach.py"),
        lock=LOCK,
        arithmetic=ARITHMETIC,
    output:
        "results/{study}/seed{seed}/teacher/{token}.safetensors",
    log:
        "logs/{study}/seed{seed}/teacher.{token}.log",
    wildcard_constraints:
        token=one_of(caches(of_each_seed=True)),
    params:
        student=folder_of("manifest"),
        flags=teacher_flags,
        costs="results/{study}/seed{seed}/costs/teacher.{token}",
        sources=teacher_sources,
