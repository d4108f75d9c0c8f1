"""The configuration of a run: one typed tree, read from TOML and the command line, checked before any work."""

import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedchest.contribution.design import MOST_COALITIONS, Method, Scoring
from fedchest.data.labels import COMPETITION, DEFAULT_POLICIES, OBSERVATIONS, UncertaintyPolicy
from fedchest.data.partition import PartitionScheme
from fedchest.errors import ConfigError
from fedchest.federation.study import Stage
from fedchest.learning.gradients import DpEngine
from fedchest.learning.optimisation import Optimisation
from fedchest.models.dual_stream import Streams
from fedchest.models.fusion import Fusion
from fedchest.models.heads import Head
from fedchest.models.normalization import Normalization
from fedchest.models.parameters import Trainable

AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""Processes of a run work in other folders than the one that a relative path was meant in."""


_RECIPES = Path(__file__).parent.parent / "recipes"
_DEFAULT_RECIPE = "fedchest"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(_Section):
    """Which images and labels the study uses."""

    data: AbsolutePath = Field(
        description="CheXpert folder (CheXpert-v1.0, -small, or the one above it) or ChestX-ray14 folder"
    )
    views: Literal["frontal", "lateral", "all"] = Field("frontal", description="views that are used")
    labels: Literal["competition", "all"] = Field(
        "competition", description="the 5 tasks or all 14 observations"
    )
    uncertainty: dict[str, UncertaintyPolicy] = Field(
        default_factory=dict,
        description=f"policy per label, as LABEL={'|'.join(UncertaintyPolicy)}; else the best known",
    )
    image_size: int = Field(64, ge=32, le=1024, description="side of the square image, pixels")
    labelled_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the training patients whose labels are used; the others' are hidden",
    )
    teacher: AbsolutePath | None = Field(
        None, description="run whose model labels what is uncertain (for the policy u-self-trained)"
    )
    cache: AbsolutePath | None = Field(
        None, description="folder of the decoded images; default: inside the run"
    )

    def label_names(self) -> tuple[str, ...]:
        """The observations that the model predicts, in CheXpert's order."""
        return COMPETITION if self.labels == "competition" else OBSERVATIONS

    def policies(self) -> dict[str, UncertaintyPolicy]:
        """The uncertainty policy of every predicted label."""
        return {name: self.uncertainty.get(name, DEFAULT_POLICIES[name]) for name in self.label_names()}

    @model_validator(mode="after")
    def _teacher_where_needed(self) -> "DataSettings":
        taught = UncertaintyPolicy.SELF_TRAINED in self.policies().values()
        if taught != (self.teacher is not None):
            raise ValueError(
                f"data.teacher = {self.teacher}: a run is allowed with the policy u-self-trained, and needed for it"
            )
        return self

    @model_validator(mode="after")
    def _known_labels(self) -> "DataSettings":
        unknown = set(self.uncertainty) - set(self.label_names())
        if unknown:
            raise ValueError(f"uncertainty names {sorted(unknown)}, allowed are {list(self.label_names())}")
        return self


class PartitionSettings(_Section):
    """How the patients are divided among hospitals."""

    institutions: int = Field(
        4, ge=1, le=1000, description="number of hospitals; 4 is the fewest to survive one fault"
    )
    partition: PartitionScheme = Field(PartitionScheme.IID, description="how patients are divided")
    alpha: float = Field(0.3, gt=0, description="Dirichlet concentration (dirichlet and quantity)")
    unlabelled_institutions: int = Field(
        0, ge=0, description="so many of the hospitals have no labels at all"
    )
    local_validation: float = Field(
        0.1, ge=0, lt=1, description="share of a hospital's patients kept for its own check"
    )


class ModelSettings(_Section):
    """The encoder and where its first weights come from."""

    model: str = Field("fedchest", description="named configuration that the other settings start from")
    encoder: str = Field(
        "xception-nano", description="xception-nano, xception-tiny, ievit-tiny or a timm model"
    )
    normalization: Normalization = Field(
        Normalization.GROUP, description="batch normalisation becomes group's, or keeps given statistics"
    )
    adapter_rank: int = Field(
        0, ge=0, le=256, description="rank of low-rank adapters on the encoder; 0: none"
    )
    streams: Streams = Field(
        Streams.ENCODER, description="encoder, autoencoder, or both fused by concat, gate or cross-attention"
    )
    fusion: Fusion = Field(Fusion.NONE, description="how the scales are fused")
    head: Head = Field(Head.EVIDENCE, description="how feature maps become logits")
    hierarchy: bool = Field(
        False, description="CheXpert's label tree in training and inference (labels: all)"
    )
    embedding: int = Field(64, ge=1, le=4096, description="width of the projected image")
    members: int = Field(1, ge=1, le=32, description="networks of an ensemble, trained side by side")
    weights: Literal["timm"] | AbsolutePath | None = Field(
        None,
        description="first weights: a model of FedChest's, a file for the encoder, or timm for timm's own",
    )
    pretrain_steps: int = Field(
        0, ge=0, description="pretrain this many steps on public rendered images; 0: don't"
    )
    pretrain_patients: int = Field(600, ge=1, description="rendered patients of that pretraining")

    def start(self) -> str:
        """Where the initial model comes from, in words."""
        origin = "random weights"
        if self.weights is not None:
            name = self.weights if self.weights == "timm" else self.weights.name
            origin = f"the weights of {name}"
        if not self.pretrain_steps:
            return origin
        images = f"public rendered images of {self.pretrain_patients} patients"
        return f"{origin}, pretrained without DP for {self.pretrain_steps} steps on {images}"


class FineTuning(StrEnum):
    """What a study trains, and in which order (Davila et al. 2024, section 3)."""

    ALL = "all"
    LAST_TWO_SCALES = "last-two-scales"
    LAST_SCALE = "last-scale"
    NORMS_AND_HEAD = "norms-and-head"
    HEAD = "head"
    AUTO_RGN = "auto-rgn"  # all, each tensor at a rate by its relative gradient
    ADAPTERS = "adapters"
    GRADUAL = "gradual"  # from the head down to the first layer, a part of the rounds each


_ORDERS: Mapping[FineTuning, tuple[Trainable, ...]] = {
    FineTuning.GRADUAL: (Trainable.HEAD, Trainable.LAST_SCALE, Trainable.LAST_TWO_SCALES, Trainable.ALL),
    FineTuning.AUTO_RGN: (Trainable.ALL,),
}


class TrainingSettings(_Section):
    """Local training; the same at every institution."""

    rounds: int = Field(5, ge=1, description="rounds of the federation, those of pretraining included")
    pretraining: str = Field("", description="loss of the first rounds, which may do without labels")
    pretraining_rounds: int = Field(0, ge=0, description="how many of the rounds use that loss")
    steps: int = Field(20, ge=1, description="local optimiser steps a round")
    batch: int = Field(32, ge=1, description="images a step with DP off")
    optimizer: Literal["sgd", "adam"] = Field("adam", description="local optimiser, reset each round")
    learning_rate: float = Field(1e-3, gt=0, le=1e30, description="local learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum, or Adam's first moment")
    augmentation: Literal["none", "light", "strong"] = Field(
        "none", description="how much the views of an image differ"
    )
    views_per_image: int = Field(
        1, ge=1, le=32, description="views of an image that are averaged (DP: before clipping)"
    )
    class_weights: Literal["none", "chexpert", "cohort"] = Field(
        "none", description="weights of the positives in the supervised terms"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the networks' passes; norms and noise stay float32"
    )
    trainable: FineTuning = Field(FineTuning.ALL, description="which parameters are trained")
    objective: str = Field(
        "bce+prototypes", description="loss by name; with dp on, one that bounds a patient"
    )
    stopping: Literal["rounds", "validation"] = Field(
        "rounds", description="after all rounds, or once the validation split gains no more (train only)"
    )
    calibration: Literal["none", "temperature"] = Field(
        "none", description="of the probabilities, on the validation split (train only)"
    )

    def optimisation(self) -> Optimisation:
        """The local optimiser's settings as the learner takes them."""
        by_gradient = self.trainable is FineTuning.AUTO_RGN
        return Optimisation(self.optimizer, self.learning_rate, self.momentum, relative_gradients=by_gradient)

    def stages(self) -> tuple[Stage, ...]:
        """The rounds in order: pretraining, if any, then the objective with each part that is to be trained."""
        parts = _ORDERS.get(self.trainable) or (Trainable(self.trainable),)
        rounds = np.array_split(np.arange(self.rounds - self.pretraining_rounds), len(parts))
        probed = parts == (Trainable.HEAD,)  # a linear probe reads what pretraining taught the encoder
        planned = [
            (self.pretraining_rounds, self.pretraining, Trainable.ALL if probed else parts[-1]),
            *((len(own), self.objective, part) for own, part in zip(rounds, parts, strict=True)),
        ]
        return tuple(
            Stage(rounds=count, objective=objective, trainable=part)
            for count, objective, part in planned
            if count
        )

    @model_validator(mode="after")
    def _pretraining_is_a_part(self) -> "TrainingSettings":
        if self.pretraining_rounds >= self.rounds:
            raise ValueError(
                f"training.pretraining_rounds = {self.pretraining_rounds}: allowed is less than training.rounds"
                f" = {self.rounds}"
            )
        if bool(self.pretraining) != bool(self.pretraining_rounds):
            raise ValueError(
                f"training.pretraining = {self.pretraining!r} and training.pretraining_rounds ="
                f" {self.pretraining_rounds}: allowed is both or neither"
            )
        return self


class PrivacySettings(_Section):
    """Differential privacy; the unit is the patient."""

    dp: bool = Field(True, description="train with DP-SGD")
    epsilon: float = Field(
        8.0, gt=0, description="epsilon of the whole study at delta, and each hospital's budget"
    )
    budget: float | None = Field(
        None,
        gt=0,
        description="most that studies may spend of a hospital's patients, earlier runs included; default: epsilon",
    )
    spare_rounds: int = Field(
        1,
        ge=0,
        description="rounds that epsilon covers beyond training.rounds: a killed round is paid for and repeated",
    )
    delta: float = Field(1e-5, gt=0, lt=0.01, description="delta; below one over the number of patients")
    sampling_rate: float = Field(
        0.1, gt=0, le=1, description="probability that a patient takes part in a step"
    )
    clipping_norm: float = Field(1.0, gt=0, description="bound of one patient's gradient, L2")
    images_per_patient: int = Field(2, ge=1, description="images of one patient that a step may use")
    dp_engine: DpEngine = Field(
        DpEngine.BOOKKEEPING, description="who clips the gradients: same result, other speed and memory"
    )
    epsilon_ledger: AbsolutePath | None = Field(
        None,
        description="folder of the cohorts' epsilon files; default: .fedchest-epsilon in the data folder",
    )
    reproducible_noise: bool = Field(
        False,
        description="derive noise from the seed: for rendered cohorts only, the guarantee is then only accounted",
    )


class ProtectionSettings(_Section):
    """The update's bound and the public size of an institution."""

    norm_bound: float = Field(20.0, gt=2**-64, lt=2**64, description="bound of an update's L2 norm")
    open_if_silent: bool = Field(
        False,
        description="show an accepted, noised update to the attestors when its institution falls silent",
    )
    patients_per_weight_unit: int = Field(
        50, ge=1, description="patients that one unit of weight class stands for"
    )


class RewardsSettings(_Section):
    """What a finalized round's credits follow from."""

    rule: Literal["weight", "contribution"] = Field(
        "weight", description="what credits follow: weight classes, or measured contribution"
    )
    contribution: Method = Field(Method.SHAPLEY, description="value of an update: shapley or leave-one-out")
    permutations: int = Field(
        8, ge=1, le=10_000, description="orders drawn where shapley would need more models than those"
    )
    resamples: int = Field(
        200, ge=0, le=10_000, description="draws of the public patients that intervals rest on; 0: none"
    )

    def scoring(self) -> Scoring | None:
        """The rule for scores; None where none are computed."""
        if self.rule == "weight":
            return None
        return Scoring(self.contribution, self.permutations, self.resamples)


class ChainSettings(_Section):
    """The chain that holds the record."""

    chain: Literal["anvil", "ganache", "file"] = Field(
        "anvil",
        description="local chain that is started for the run; file: none, a hash-chained file instead",
    )
    rpc: str | None = Field(None, description="use the chain at this JSON-RPC address instead")
    chain_port: int | None = Field(
        None, ge=1, le=65535, description="port of the local chain; default: a free one"
    )
    submission_seconds: int = Field(
        3600, ge=1, lt=2**31, description="time for training and submitting, a round"
    )
    attestation_seconds: int = Field(600, ge=1, lt=2**31, description="time for attesting, a round")
    patience_seconds: int = Field(
        120,
        ge=0,
        lt=2**31,
        description="longest wait for a chain that does not answer; 0: none, and no restart",
    )
    finality_depth: int = Field(
        0, ge=0, le=1000, description="blocks on top before one is believed; 0 where none is ever taken back"
    )
    minimum_accepted: int = Field(1, ge=1, description="fewest accepted updates that make a model")
    cohort_size: int = Field(0, ge=0, description="institutions drawn for a round; 0: all")
    crash_only: bool = Field(False, description="simple majority: not Byzantine-safe, and reports say so")

    @model_validator(mode="after")
    def _file_is_no_chain(self) -> "ChainSettings":
        if self.chain == "file":
            for name in ("rpc", "chain_port", "finality_depth"):
                value = getattr(self, name)
                if value:
                    raise ValueError(
                        f"chain.{name} = {value}: with chain.chain = file there is no chain; leave it out"
                    )
        return self


class RunSettings(_Section):
    """How and where the run is executed."""

    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of partition, initial model and order")
    engine: Literal["in-process", "simulation", "deployment"] = Field(
        "in-process",
        description="one process, Flower's simulation engine, or real SuperLink and SuperNodes over TLS",
    )
    workers: int = Field(
        2, ge=1, description="institutions that train at the same time (in-process, simulation)"
    )
    local_baselines: bool = Field(
        False, description="also train each hospital alone; charges its patients' epsilon"
    )
    out: AbsolutePath | None = Field(None, description="run directory; default: runs/<time>")


class Settings(_Section):
    """Everything that decides a run."""

    data: DataSettings
    partition: PartitionSettings = PartitionSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    privacy: PrivacySettings = PrivacySettings()
    protection: ProtectionSettings = ProtectionSettings()
    rewards: RewardsSettings = RewardsSettings()
    chain: ChainSettings = ChainSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.chain.cohort_size > self.partition.institutions:
            raise ValueError(
                f"chain.cohort_size = {self.chain.cohort_size}: allowed is at most partition.institutions"
                f" = {self.partition.institutions}"
            )
        if self.training.precision != "float32" and self.privacy.dp_engine is DpEngine.OPACUS:
            raise ValueError(
                f"training.precision = {self.training.precision}: with privacy.dp_engine = opacus allowed is float32"
            )
        if self.training.calibration != "none" and self.model.hierarchy:
            raise ValueError(
                f"training.calibration = {self.training.calibration}: with model.hierarchy allowed is none, since a"
                " label divided by itself could come out likelier than its parent"
            )
        if (self.training.trainable is FineTuning.ADAPTERS) and not self.model.adapter_rank:
            raise ValueError("model.adapter_rank = 0: training.trainable = adapters needs at least 1")
        members = self.chain.cohort_size or self.partition.institutions
        scoring = self.rewards.scoring()
        if scoring is not None and scoring.models(members) > MOST_COALITIONS:
            raise ValueError(
                f"rewards.permutations = {scoring.permutations}: {members} institutions may then need"
                f" {scoring.models(members):,} models a round; allowed are {MOST_COALITIONS:,}"
            )
        if self.chain.minimum_accepted > members:
            raise ValueError(
                f"chain.minimum_accepted = {self.chain.minimum_accepted}: a round has {members} institutions"
            )
        return self


def read_settings(file: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings of `file` (TOML, one table a section) with `overrides` laid over them, both over the named model's.

    Raises ConfigError naming the key, the value and what is allowed.
    """
    return _validated(_tree(file, overrides))


def read_pretraining(file: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> Settings:
    """As `read_settings`, of the pretraining alone: its loss is the objective, and its rounds, if given, are all.

    An encoder that only a head would be trained on is pretrained whole. Raises ConfigError also where no loss is named.
    """
    tree = _tree(file, overrides)
    training = tree.get("training", {})
    if not isinstance(training, Mapping):
        return _validated(tree)
    training = dict(training)
    objective, rounds = training.pop("pretraining", ""), training.pop("pretraining_rounds", 0)
    if not objective:
        raise ConfigError(
            "training.pretraining = '': allowed is a loss that learns without labels, such as byol (--pretraining)."
        )
    training["objective"] = objective
    if rounds:
        training["rounds"] = rounds
    if training.get("trainable") in (FineTuning.HEAD, FineTuning.GRADUAL):
        training["trainable"] = FineTuning.ALL
    return _validated(tree | {"training": training})


def _tree(file: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    given = _laid_over(_read_toml(file) if file is not None else {}, overrides)
    return _laid_over(_read_toml(_recipe(given)), given)


def _validated(tree: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe(error)) from None


def recipes() -> dict[str, Path]:
    """The named configurations: a file of settings each."""
    return {file.stem: file for file in sorted(_RECIPES.glob("*.toml"))}


def _recipe(given: Mapping[str, Any]) -> Path:
    section = given.get("model")
    name = section.get("model", _DEFAULT_RECIPE) if isinstance(section, Mapping) else _DEFAULT_RECIPE
    known = recipes()
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"model.model = {name!r}: allowed are {', '.join(known)}.")
    return known[name]


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of settings as one; what is no table is kept for the validation to refuse."""
    tree = dict(below)
    for section, values in above.items():
        written = tree.get(section, {})
        if isinstance(written, Mapping) and isinstance(values, Mapping):
            tree[section] = {**written, **values}
        else:
            tree[section] = values if isinstance(written, Mapping) else written
    return tree


def describe(error: ValidationError) -> str:
    """One line a fault: the key, the value given, and what is allowed."""
    return "; ".join(_describe_one(dict(fault)) for fault in error.errors())


def _describe_one(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{key} is required" + (" (--data FOLDER)" if key.startswith("data") else "")
    if fault["type"] == "extra_forbidden":
        return f"{key} is not a setting (fedchest simulate --help lists them)"
    if fault["type"] == "model_type":
        return f"{key} = {fault['input']!r}: a table of settings is expected"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{key} = {fault['input']!r}: {message[0].lower()}{message[1:]}" if key else message


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from None
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}.") from None
