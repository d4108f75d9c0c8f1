"""The run directory: one folder a party, each holding only what that party needs."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedchest.artifacts import ArtifactStore
from fedchest.errors import StoreError
from fedchest.federation.study import Study
from fedchest.files import OWNER_ONLY, write_atomically
from fedchest.parsing import parse_json

STUDY, CONNECTION, SITE, COORDINATOR = "study.json", "connection.json", "site.json", "coordinator.json"
WALLET, SEALING_KEY, JOURNAL = "wallet.key", "sealing.key", "journal.jsonl"
LEDGER = "ledger.jsonl"
ROUNDS = "rounds.json"

_Document = TypeVar("_Document", bound=BaseModel)


class Connection(BaseModel):
    """The ledger as a party pins it: where it answers or lies (file://...), which chain it is, the study's contract.

    How long it is waited for in seconds, and how many of its newest blocks are not believed yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpc_url: str
    chain_id: int
    contract: str
    patience_seconds: int = 0
    finality_depth: int = 0


class SiteDocument(BaseModel):
    """What one hospital's client reads at start; paths are the hospital's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    data: Path
    patients: tuple[str, ...]
    validation_patients: tuple[str, ...]
    unlabelled_patients: tuple[str, ...]
    teacher: Path | None
    cache: Path
    epsilon_ledger: Path
    epsilon_budget: float
    open_if_silent: bool
    artifacts: Path
    randomness_secret: Path | None
    randomness_label: str


class CoordinatorDocument(BaseModel):
    """What the coordinator's server reads at start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation_data: Path | None
    cache: Path
    artifacts: Path
    reply_seconds: int


class RunDirectory:
    """Names every place of a run; nothing else spells these paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = ArtifactStore(root / "artifacts")
        self.chain = root / "chain"
        self.coordinator = root / "coordinator"
        self.auditor = root / "auditor"
        self.models = root / "models"
        self.cache = root / "cache"
        self.study = root / STUDY
        self.settings = root / "settings.json"
        self.provenance = root / "provenance.json"
        self.results = root / "results.json"
        self.pruned = root / "pruned.jsonl"
        self.calibration = root / "calibration.json"
        self.curves = root / "curves.png"

    def institution(self, index: int) -> Path:
        """The folder of institution `index`, counted from 0."""
        return self.root / "institutions" / f"{index:03d}"

    def institutions(self) -> list[Path]:
        """The folders of all institutions, in order."""
        return sorted(path for path in (self.root / "institutions").glob("*") if path.is_dir())

    def parties(self) -> list[Path]:
        """The folders of all parties that write on chain or read it."""
        return [self.coordinator, self.auditor, *self.institutions()]


def write_document(path: Path, document: BaseModel) -> None:
    """Write a party's document, readable by its owner only."""
    write_atomically(path, (document.model_dump_json(indent=1) + "\n").encode(), mode=OWNER_ONLY)


def read_document(path: Path, kind: type[_Document]) -> _Document:
    """Read a party's document. Raises StoreError naming the file when it is absent or not of its kind."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist: this is not a complete FedChest folder.") from None
    except ValidationError as error:
        raise StoreError(f"{path} is damaged: {error.error_count()} faults in it.") from None


def read_study(path: Path) -> Study:
    """The study's document. Raises StoreError."""
    return read_document(path, Study)


def read_json(path: Path) -> Any:
    """Parsed JSON of `path`. Raises StoreError naming it."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist.") from None
    except ValueError:
        raise StoreError(f"{path} is damaged: it is not JSON.") from None
