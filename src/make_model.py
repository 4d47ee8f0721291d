r"""python src/make_model.py --text assets/text/alpaca.jsonl --splits results/smoke/splits.json \
    --layers 2 --hidden 64 --ffn 256 --heads 4 --key-value-heads 2 --vocabulary 512 \
    --steps 200 --seed 0 --out assets/models/tiny

Make a tiny chat model of the Llama architecture: a byte-level tokenizer and a few seconds of
training on the train split, enough for its perplexity to mean something. It stands in for the
real model in the smoke study and in tests, with the same chat template and file layout. With
`--steps 0` the weights are random; without `--text` as well the tokenizer knows bytes only.
"""

from pathlib import Path

from compression_order.assets import made
from compression_order.common import declare, errors
from compression_order.study.settings import MadeModel


def parser() -> declare.Parser:
    parser = declare.Parser(__doc__)
    parser.add_argument("--text", type=Path, help="chat text, JSON lines (none: --steps 0 only)")
    parser.add_argument("--splits", type=Path, help="splits.json; its train part (none: all of it)")
    declare.add_flags(parser, MadeModel)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return parser


def main() -> None:
    args = parser().parse_args()
    its = declare.read(MadeModel, vars(args))
    made.write(made.Asked(args.text, args.splits, **its.model_dump()), args.threads, args.out)


if __name__ == "__main__":
    errors.run(main)
