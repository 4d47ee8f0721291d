r"""python src/prepare_nltk.py --archive assets/packages/X.whl --sha256 HEX \
    --member llama_index/core/_static/nltk_cache/tokenizers/punkt_tab/english \
    --out assets/nltk/tokenizers/punkt_tab/english/*

Extract the files of NLTK's sentence boundaries (punkt_tab, English) from a package that carries
them, byte for byte. lm-eval's ifeval counts sentences with them; where they are missing it
would download them at run time, in whatever version there is.
"""

import argparse
from pathlib import Path

from compression_order import assets, errors, files, settings


def parse_args() -> argparse.Namespace:
    parser = settings.Parser(description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--archive", type=Path, required=True, help="package with the files")
    parser.add_argument("--sha256", required=True, help="expected digest of the archive, in hex")
    parser.add_argument("--member", required=True, help="their folder in the archive")
    parser.add_argument(
        "--out", type=Path, nargs="+", required=True, help="the files, by their names there"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    for path in args.out:
        with files.replacing(path) as aside:
            assets.extract(args.archive, args.sha256, f"{args.member}/{path.name}", aside)
    print(f"{len(args.out)} files of {args.archive} are in {args.out[0].parent}")


if __name__ == "__main__":
    errors.run(main)
