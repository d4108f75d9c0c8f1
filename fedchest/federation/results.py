"""What a run came to: the figures of each round, from the chain, the artifact store and the public evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from fedchest.accounting.prv import MICRO
from fedchest.aggregation.record import RoundRecord
from fedchest.federation.config import Settings
from fedchest.federation.directory import ROUNDS, RunDirectory, read_document, read_json
from fedchest.federation.study import Study
from fedchest.files import write_atomically
from fedchest.ledger.ledger import Ledger
from fedchest.ledger.records import Event, Phase, RoundState


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoundFigures(_Figures):
    """One settled round. Epsilon by institution number is cumulative at the study's delta; None before any spend.

    `sent_bytes` is what travelled between server and institutions, `stored_bytes` what the round added to the
    artifact store. `mean_auroc` is None where nothing was measured.
    """

    round: int
    finalized: bool
    model: str
    mean_auroc: float | None
    auroc: dict[str, float | None] | None
    epsilon: dict[int, float]
    accepted: list[int]
    refused: dict[int, int]
    sent_bytes: int
    stored_bytes: int
    gas: int
    seconds: float | None


class InstitutionFigures(_Figures):
    """One hospital at the end: its public facts, and its local-only model on the public set where that was trained."""

    name: str
    wallet: str
    weight_class: int
    epsilon: float
    budget: float
    credits: int
    local_only_auroc: float | None


class Results(_Figures):
    """Everything that `results.json` holds."""

    study: str
    dp: bool
    delta: float | None
    reproducible_noise: bool
    crash_only: bool
    start: str
    initial_model: str
    initial_auroc: float | None
    planned_rounds: int
    rounds: list[RoundFigures]
    institutions: list[InstitutionFigures]
    chain: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether as many rounds were finalized as the study has; a void round that was repeated is no failure."""
        return sum(figures.finalized for figures in self.rounds) >= self.planned_rounds


def collect(
    directory: RunDirectory,
    study: Study,
    ledger: Ledger,
    settings: Settings,
    local_only: Mapping[int, float | None],
) -> Results:
    """Gather the figures of every round so far. Raises StoreError when an artifact is missing."""
    events = ledger.events()
    notes = {note["finalized_rounds"]: note for note in read_json(directory.coordinator / ROUNDS)}
    head = ledger.head()
    return Results(
        study=study.digest().hex(),
        dp=study.privacy is not None,
        delta=None if study.privacy is None else study.privacy.delta,
        reproducible_noise=settings.privacy.reproducible_noise,
        start=settings.model.start(),
        crash_only=ledger.rules().crash_only,
        initial_model=ledger.initial_model().hex(),
        initial_auroc=notes.get(0, {}).get("mean_auroc"),
        planned_rounds=study.rounds,
        rounds=_rounds(directory, ledger, events, notes),
        institutions=_institutions(ledger, local_only),
        chain={
            "chain_id": ledger.chain_id,
            "contract": ledger.address,
            "height": head[0],
            "head": head[1].hex(),
        },
    )


def write_results(directory: RunDirectory, results: Results) -> None:
    """Write `results.json`."""
    write_atomically(directory.results, (results.model_dump_json(indent=1) + "\n").encode())


def write_models(directory: RunDirectory, results: Results) -> None:
    """Write the initial model and each finalized one where people look for them: `models/round-001.safetensors`."""
    finalized = [(figures.round, figures.model) for figures in results.rounds if figures.finalized]
    for number, digest in [(0, results.initial_model), *finalized]:
        content = directory.artifacts.get(bytes.fromhex(digest))
        write_atomically(directory.models / f"round-{number:03d}.safetensors", content)


def read_results(directory: RunDirectory) -> Results:
    """Read `results.json`. Raises StoreError when it is absent or damaged."""
    return read_document(directory.results, Results)


def _rounds(
    directory: RunDirectory,
    ledger: Ledger,
    events: Sequence[Event],
    notes: Mapping[int, Mapping[str, Any]],
) -> list[RoundFigures]:
    figures: list[RoundFigures] = []
    epsilon: dict[int, float] = {}
    finalized = 0
    for number in range(1, ledger.current_round() + 1):
        state = ledger.round(number)
        own = [event for event in events if event.round == number]
        epsilon = epsilon | {i: part.epsilon / MICRO for i, part in ledger.submissions(number).items()}
        settled = state.phase is Phase.FINALIZED
        finalized += settled
        note = notes.get(finalized, {}) if settled else {}
        sizes = _sizes(directory, state)
        figures.append(
            RoundFigures(
                round=number,
                finalized=settled,
                model=(state.new_model if settled else state.base_model).hex(),
                mean_auroc=note.get("mean_auroc"),
                auroc=note.get("auroc"),
                epsilon=epsilon,
                accepted=list(ledger.accepted(number)),
                refused={
                    e.institution: _reason(e)
                    for e in own
                    if e.name == "UpdateRefused" and e.institution is not None
                },
                sent_bytes=sizes.sent,
                stored_bytes=sizes.stored,
                gas=sum({event.transaction: event.gas for event in own}.values()),
                seconds=note.get("seconds"),
            )
        )
    return figures


class _Sizes(NamedTuple):
    sent: int
    stored: int


def _sizes(directory: RunDirectory, state: RoundState) -> _Sizes:
    """Bytes sent: the base model and the proposal to each member, the replies back.

    Stored: replies, model, record, and predictions where credits follow contribution. An update that was pruned counts
    for nothing.
    """
    store = directory.artifacts
    sent = store.path(state.base_model).stat().st_size * state.members
    if state.new_model == bytes(32):
        return _Sizes(sent, 0)
    record_bytes = store.get(state.record)
    record = RoundRecord.from_bytes(record_bytes)
    received = [
        store.path(digest).stat().st_size
        for entry in record.entries
        for digest in map(bytes.fromhex, filter(None, (entry.sealed, entry.manifest)))
        if digest in store
    ]
    model = store.path(state.new_model).stat().st_size
    stored = sum(received) + model + len(record_bytes)
    if record.contribution is not None:
        stored += store.path(bytes.fromhex(record.contribution.predictions)).stat().st_size
    return _Sizes(sent + model * state.members + sum(received), stored)


def _institutions(ledger: Ledger, local_only: Mapping[int, float | None]) -> list[InstitutionFigures]:
    return [
        InstitutionFigures(
            name=f"hospital {institution.id + 1}",
            wallet=institution.wallet,
            weight_class=institution.weight_class,
            epsilon=institution.epsilon_spent / MICRO,
            budget=institution.epsilon_budget / MICRO,
            credits=institution.credits,
            local_only_auroc=local_only.get(institution.id),
        )
        for institution in ledger.institutions()
    ]


def _reason(event: Event) -> int:
    reason = event.values["reason"]
    assert isinstance(reason, int)
    return reason
