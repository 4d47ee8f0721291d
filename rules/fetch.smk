"""Packages -> model and texts: pinned, verified, made plain. Afterwards nothing needs a network."""


rule fetch:
    """Download one archive; its sha256 is the contract, so no source is an input."""
    output:
        "assets/packages/{file}",
    log:
        "logs/fetch/{file}.log",
    params:
        flags=lambda w: STUDY.fetch_flags(w.file),
    shell:
        r"""
        python src/fetch.py \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


if "made" in STUDY.config["model"]:

    rule make_model:
        """Make and train the study's tiny model."""
        input:
            text=STUDY.chat,
            splits=f"results/{STUDY.name}/splits.json",
            sources=sources("src/make_model.py"),
            lock=LOCK,
        output:
            manifest=f"{STUDY.model}/asset.json",
            model=f"{STUDY.model}/model.safetensors",
        log:
            f"logs/models/{STUDY.config['model']['name']}.log",
        params:
            folder=lambda w, output: str(Path(output.manifest).parent),
            flags=study.flags(STUDY.config["model"]["made"]),
        shell:
            r"""
            python src/make_model.py \
                --text {input.text:q} \
                --splits {input.splits:q} \
                --threads {threads} \
                {params.flags:q} \
                --out {params.folder:q} \
                2>&1 | tee {log:q}
            """

else:

    rule prepare_model:
        """Convert the packaged model to a plain bf16 checkpoint."""
        input:
            archive=ancient(STUDY.archive(STUDY.config["model"]["package"])),
            sources=sources("src/prepare_model.py"),
            lock=LOCK,
        output:
            manifest=f"{STUDY.model}/asset.json",
            model=f"{STUDY.model}/model.safetensors",
        log:
            f"logs/models/{STUDY.config['model']['name']}.log",
        params:
            folder=lambda w, output: str(Path(output.manifest).parent),
            flags=STUDY.member_flags(STUDY.config["model"]),
        shell:
            r"""
            python src/prepare_model.py \
                {params.flags:q} \
                --threads {threads} \
                --out {params.folder:q} \
                2>&1 | tee {log:q}
            """


rule prepare_text:
    """Extract one text from its archive."""
    input:
        archive=lambda w: ancient(
            STUDY.archive(STUDY.config["text"][w.text]["package"])
        ),
        sources=sources("src/prepare_text.py"),
    output:
        "assets/text/{text}.jsonl",
    log:
        "logs/text/{text}.log",
    params:
        flags=lambda w: STUDY.member_flags(STUDY.config["text"][w.text]),
    shell:
        r"""
        python src/prepare_text.py \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """


rule split_text:
    """Draw the disjoint training, calibration and held-out conversations."""
    input:
        text=STUDY.chat,
        sources=sources("src/split_text.py"),
    output:
        "results/{study}/splits.json",
    log:
        "logs/{study}/splits.log",
    params:
        flags=study.flags(
            {k: v for k, v in STUDY.config["splits"].items() if k != "text"}
        ),
    shell:
        r"""
        python src/split_text.py \
            --text {input.text:q} \
            {params.flags:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
