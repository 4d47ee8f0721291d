"""Keys of a study file, each with its meaning, range and default. Pure Python.

The settings of a stage are declared by its method (`methods/<name>/settings.py`), those of a judge
in `judge/settings.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from compression_order.common.declare import Settings
from compression_order.judge.settings import Judge
from compression_order.study.settings import (
    Comparisons,
    Different,
    MadeModel,
    Opening,
    Scoring,
    Serving,
    Tuning,
)

ALL_SUBSETS = "all-subsets"
PLAIN_FORMS = ("lines", "jsonl", "rows", "penn-valid", "penn-test")
CHAT_FORMS = ("alpaca", "messages")


def _matching(pattern: str) -> Any:
    return Field(pattern=pattern)


def _one_of(**kinds: str) -> Discriminator:
    """Choose the alternative whose key an entry has, or the last one if it has none of the keys."""

    def chosen(value: Any) -> str:
        keys = dict(value) if isinstance(value, Mapping | Settings) else ()
        found = [tag for key, tag in kinds.items() if key in keys]
        return (found or list(kinds.values()))[0 if found else -1]

    return Discriminator(chosen)


Identifier = Annotated[str, _matching(r"^[a-z0-9][a-z0-9.-]*$")]
Repository = Annotated[str, _matching(r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Revision = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{40}$",
        description="commit of a repository, 40 hexadecimal digits; a branch may move",
    ),
]


class Package(Settings):
    """An archive to fetch with pip."""

    version: Annotated[str, Field(description="exact version")]
    file: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_.-]+(\.whl|\.tar\.gz)$",
            description="file name of the archive in the package index",
        ),
    ]
    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="of the archive, in hexadecimal")
    ]


class _Model(Settings):
    name: Annotated[Identifier, Field(description="folder under assets/models")]


class ModelMade(_Model):
    """A model that is made on the spot."""

    made: MadeModel


class ModelOfHub(_Model):
    """A model of the model hub."""

    hub: Annotated[Repository, Field(description="repository on the model hub, as OWNER/NAME")]
    revision: Revision


class ModelOfPackage(_Model):
    """A model in a GGUF file of a package."""

    package: Annotated[str, Field(description="name under `packages`")]
    member: Annotated[str, Field(description="the GGUF file in the package")]


AnyModel = ModelMade | ModelOfHub | ModelOfPackage
Model = Annotated[
    Annotated[ModelMade, Tag("<made>")]
    | Annotated[ModelOfHub, Tag("<hub>")]
    | Annotated[ModelOfPackage, Tag("<package>")],
    _one_of(made="<made>", hub="<hub>", package="<package>"),
]


class TextOfHub(Settings):
    """Rows of a dataset of the hub."""

    hub: Annotated[Repository, Field(description="repository on the hub, as OWNER/NAME")]
    revision: Revision
    files: Annotated[
        str,
        Field(
            description="the data files in the repository, by name or pattern; parquet, jsonl, "
            "json.gz"
        ),
    ]
    take: Annotated[
        str,
        Field(
            pattern=r"^(\[[0-9%]*:[0-9%]*\])?$",
            description='rows to take, as a slice of the datasets library, such as "[:10%]"',
        ),
    ] = ""
    form: Annotated[
        Literal["alpaca", "documents", "messages", "rows"],
        Field(description="what a row holds; see src/prepare_text.py"),
    ]


class TextOfPackage(Settings):
    """A data file of a package."""

    package: Annotated[str, Field(description="name under `packages`")]
    member: Annotated[str, Field(description="the file in the package")]
    form: Annotated[
        Literal[
            "alpaca", "lines", "jsonl", "options", "true-false", "conclusions", "penn-valid",
            "penn-test",
        ],
        Field(description="how the file is laid out; see src/prepare_text.py"),
    ]  # fmt: skip


AnyText = TextOfHub | TextOfPackage
Text = Annotated[
    Annotated[TextOfHub, Tag("<hub>")] | Annotated[TextOfPackage, Tag("<package>")],
    _one_of(hub="<hub>", package="<package>"),
]


class Snapshot(Settings):
    """Files of a dataset at one revision."""

    host: Annotated[Literal["hub", "github"], Field(description="where the repository lies")] = (
        "hub"
    )
    revision: Revision
    files: Annotated[
        list[str],
        Field(
            description="patterns of what to fetch (README.md is always among it); none = all; "
            "of GitHub they must be given"
        ),
    ] = []


class Drawn(Settings):
    """The draw of another study, whose conversations this one neither scores nor tunes on."""

    seed: Annotated[int, Field(ge=0, description="of that draw")]
    train: Annotated[int, Field(ge=0, description="conversations of its training part")]
    calibration: Annotated[int, Field(ge=0, description="of its calibration part")]
    held_out: Annotated[int, Field(ge=0, description="of its held-out part")]


class Splits(Settings):
    """Disjoint parts of the chat text, in conversations."""

    text: Annotated[str, Field(description="the chat text")]
    held_out_text: Annotated[
        str,
        Field(description="text of the held-out conversations, when it is another; none = text"),
    ] = ""
    seed: Annotated[int, Field(ge=0, description="of the draw")]
    draw: Annotated[
        Literal["once", "per-seed"],
        Field(
            description="once = all seeds read the same parts; per-seed = each seed draws what "
            "trains and what calibrates anew, the scored parts are fixed"
        ),
    ] = "once"
    train: Annotated[int, Field(ge=1, description="conversations that training reads")]
    recovery: Annotated[
        int,
        Field(ge=0, description="conversations for trainings with `part: recovery`; 0 = none"),
    ] = 0
    calibration: Annotated[int, Field(ge=4, description="conversations that calibrate")]
    held_out: Annotated[int, Field(ge=2, description="conversations that evaluations score")]
    dev: Annotated[
        int, Field(ge=0, description="conversations on which settings are chosen; 0 = none")
    ] = 0
    near_duplicates: Annotated[
        Literal["leave-out", "keep"],
        Field(
            description="leave-out = of conversations that say nearly the same one is kept; keep = "
            "only repeated prompts are left out"
        ),
    ] = "leave-out"
    not_of: Annotated[
        Drawn | None,
        Field(description="an earlier draw of the same text that is never scored; none = no such"),
    ] = None

    @property
    def scored(self) -> str:
        """The text that evaluations score as whole conversations."""
        return self.held_out_text or self.text


class Nltk(Settings):
    """The package with NLTK's sentence boundaries, which ifeval counts with."""

    package: Annotated[str, Field(description="name under `packages`")]
    member: Annotated[
        str, Field(description="folder of the English ones in the package, punkt_tab/english")
    ]


Count = Annotated[int, Field(ge=0)]


class Evaluations(Scoring, Opening):
    """Data on which every checkpoint is scored."""

    windows: Annotated[list[str], Field(description="texts for perplexity over windows")] = []
    tasks: Annotated[
        dict[str, Count],
        Field(
            description="task files in tasks/, by name, with the questions to ask, spread evenly "
            "over the set (0 = all); a task reads the text of its name; in a file laid over a "
            "study null leaves a set out"
        ),
    ] = {}
    hub_tasks: Annotated[
        dict[str, Count],
        Field(
            description="lm-eval's own tasks or groups, by name, with the questions to ask of each "
            "leaf task (0 = all); what they read is pinned under `datasets`"
        ),
    ] = {}
    hub_shots: Annotated[
        dict[str, Count],
        Field(
            description="solved examples before each question of a hub task, by its name; "
            "lm-eval's default where a task is not named"
        ),
    ] = {}
    nltk: Nltk | None = None

    @property
    def scoring(self) -> Scoring:
        """How texts and questions are scored."""
        return Scoring(**{name: getattr(self, name) for name in Scoring.model_fields})

    @property
    def opening(self) -> Opening:
        """How whole conversations are scored."""
        return Opening(**{name: getattr(self, name) for name in Opening.model_fields})


class Proof(Settings):
    """Checks that a checkpoint must pass."""

    max_degenerate: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="largest share of empty or repetitive greedy answers a stage may give, 0 "
            "to 1",
        ),
    ]


Token = Annotated[str, _matching(r"^(?!base$)[A-Za-z][A-Za-z0-9_.]*$")]


def _dataset(value: Any) -> str:
    return "<revision>" if isinstance(value, str) else "<snapshot>"


def _orderings(value: Any) -> str:
    if isinstance(value, Mapping):
        return "<arms>"
    return "<pipelines>" if isinstance(value, list) else "<all>"


def _teacher(value: Any) -> str:
    return "<model>" if isinstance(value, Mapping | Settings) else "<pipeline>"


class StudyFile(Settings):
    """A whole study."""

    study: Annotated[
        Identifier, Field(description="name of the study; its results lie in results/<study>/")
    ]
    seeds: Annotated[
        list[Count],
        Field(min_length=1, description="seeds; the whole study is repeated once per seed"),
        Different,
    ]
    published: Annotated[
        str,
        Field(
            description="study in published/published.csv whose figures stand beside ours; none = "
            "no such study"
        ),
    ] = ""
    device: Annotated[
        Literal["cpu", "cuda"], Field(description="where stages and evaluations compute")
    ] = "cpu"
    compute: Annotated[
        Literal["bf16", "float32", "auto"],
        Field(
            description="what products are made in; auto = the faster of the two where the study "
            "first runs, as studies/<study>.lock.yaml then says"
        ),
    ] = "bf16"
    packages: Annotated[
        dict[str, Package], Field(description="archives to fetch with pip, by package name")
    ] = {}
    model: Model
    teacher: Annotated[
        Annotated[
            Annotated[str, Tag("<pipeline>")] | Annotated[Model, Tag("<model>")],
            Discriminator(_teacher),
        ]
        | None,
        Field(
            description="what distillation learns from: base (the uncompressed model), a pipeline "
            "of the study, or a model of its own"
        ),
    ] = None
    chat_template: Annotated[
        str, Field(description="Jinja template that replaces the tokenizer's own; none = its own")
    ] = ""
    text: Annotated[dict[str, Text], Field(min_length=1, description="texts to extract, by name")]
    datasets: Annotated[
        dict[
            Annotated[str, _matching(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")],
            Annotated[
                Annotated[Revision, Tag("<revision>")] | Annotated[Snapshot, Tag("<snapshot>")],
                Discriminator(_dataset),
            ],
        ],
        Field(
            description="datasets of the hub or of GitHub by name, each at a revision, or with "
            "more said about it"
        ),
    ] = {}
    splits: Splits
    stages: Annotated[
        dict[Token, dict[str, Any]],
        Field(min_length=1, description="what each token of a pipeline means"),
    ]
    orderings: Annotated[
        Annotated[Literal["all-subsets"], Tag("<all>")]
        | Annotated[list[str], Field(min_length=1), Tag("<pipelines>")]
        | Annotated[
            dict[
                Annotated[str, _matching(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")],
                Annotated[list[str], Field(min_length=1), Different],
            ],
            Field(min_length=1),
            Tag("<arms>"),
        ],
        Discriminator(_orderings),
        Field(
            description="all-subsets, or the pipelines by name, or arms, each with the tokens "
            "whose ordered subsets it is, or with its pipelines by name"
        ),
    ]
    evaluations: Evaluations
    serving: Annotated[
        Serving | None, Field(description="what `make serving` measures; none = nothing")
    ] = None
    judge: Annotated[
        Judge | None, Field(description="a judge of generated answers; none = nothing is judged")
    ] = None
    tuning: Annotated[
        Tuning | None, Field(description="the settings that `make tune` chooses; none = none")
    ] = None
    comparisons: Comparisons = Comparisons()
    proof: Proof
