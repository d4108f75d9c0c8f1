"""Kill -9 at any moment: the next start goes on from the last finalized round and pays for nothing twice."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from crashing_run import run_and_die
from flwr.app import Context, Message, RecordDict
from small_federation import founded, liar

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.errors import StoreError
from fedchest.federation.apps import client_app
from fedchest.federation.config import Settings
from fedchest.federation.directory import LEDGER, SITE, RunDirectory, SiteDocument, read_document
from fedchest.federation.prepare import prepare
from fedchest.federation.simulate import resume
from fedchest.ledger.records import Phase

pytestmark = pytest.mark.e2e

SELF, CHAIN = "self", "chain"


@dataclass(frozen=True)
class Moment:
    """When round 2 of a run is cut off, and what is left: its round void or not, how often each hospital paid."""

    call: str
    occurrence: int
    before: bool
    victim: str = SELF
    void: bool = True
    charges: tuple[int, int] = (2, 2)
    chain: str = "anvil"


MOMENTS = {
    "the first hospital trains": Moment("training", 1, before=True, charges=(3, 2)),
    "the second hospital trains": Moment("training", 2, before=True, charges=(2, 3)),
    "sealed, not committed": Moment("submission", 2, before=True),
    "committed, not sent": Moment("submission", 2, before=False),
    "not proposed": Moment("proposal", 1, before=True),
    "proposed": Moment("proposal", 1, before=False, void=False),
    "half attested": Moment("attestation", 1, before=False, void=False),
    "finalized, not measured": Moment("evaluation", 1, before=True, void=False),
    "the chain, before a commitment": Moment("submission", 2, before=True, victim=CHAIN),
    "the chain, after the proposal": Moment("proposal", 1, before=False, victim=CHAIN, void=False),
    "committed in a file, not sent": Moment("submission", 2, before=False, chain="file"),
    "proposed in a file": Moment("proposal", 1, before=False, void=False, chain="file"),
}

SLOW = {"the second hospital trains", "not proposed", "half attested", "finalized, not measured"}


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Starts processes that share one import of everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crashing_run"])
    with pytest.MonkeyPatch.context() as patch:
        folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        patch.setenv("PYTHONPATH", os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]))
        yield context


def charges(directory: RunDirectory) -> tuple[int, ...]:
    counts = []
    for folder in directory.institutions():
        document = read_document(folder / SITE, SiteDocument)
        with CohortLedger.open(document.epsilon_ledger, document.patients) as ledger:
            counts.append(len(ledger.entries()))
    return tuple(counts)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, id=name, marks=pytest.mark.slow if name in SLOW else ())
        for name, moment in MOMENTS.items()
    ],
)
def test_killed_in_round_2(make_settings, processes: ForkServerContext, tmp_path: Path, moment: Moment):
    settings: Settings = make_settings(
        training={"rounds": 2},
        partition={"institutions": 2},
        privacy={"dp": True, "epsilon": 8},
        # Without patience nobody starts the chain again.
        chain={"chain": moment.chain, "patience_seconds": 0 if moment.victim == CHAIN else 120},
    )
    first_model = tmp_path / "first-model"
    arguments = (settings, moment.call, moment.occurrence, moment.before, moment.victim, first_model)
    process = processes.Process(target=run_and_die, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == (-signal.SIGKILL if moment.victim == SELF else 1)
    directory = RunDirectory(tmp_path / "run")
    stored = {path: path.read_bytes() for path in directory.root.glob("institutions/*/outbox/*.update")}

    results = resume(directory.root, announce=lambda stage: None)

    assert [figures.finalized for figures in results.rounds] == (
        [True, False, True] if moment.void else [True, True]
    )
    assert results.rounds[0].model == first_model.read_bytes().hex()
    assert [figures.accepted for figures in results.rounds if figures.finalized] == [[0, 1], [0, 1]]
    assert {path: path.read_bytes() for path in stored} == stored
    assert charges(directory) == moment.charges


def test_a_finished_run_is_left_as_it_is(make_federation):
    federation = make_federation()
    federation.run()
    head = federation.ledger.head()
    federation.run()
    assert federation.ledger.head() == head


def test_a_ledger_file_that_is_lost_comes_back_from_a_partys_copy(make_settings, tmp_path: Path):
    settings = make_settings(chain={"chain": "file"})
    with founded(settings) as federation:
        federation.run()
    directory = federation.directory
    whole = (directory.chain / LEDGER).read_bytes()
    (directory.chain / LEDGER).unlink()
    results = resume(directory.root, announce=lambda stage: None)
    assert [figures.finalized for figures in results.rounds] == [True]
    assert (directory.chain / LEDGER).read_bytes() == whole


def test_a_run_that_was_never_founded_is_not_resumed(make_settings, tmp_path: Path):
    prepare(make_settings(), tmp_path / "run")
    with pytest.raises(StoreError, match="start a new run"):
        resume(tmp_path / "run", announce=lambda stage: None)


def test_a_message_that_comes_twice_is_answered_alike(make_federation):
    """The stored bytes are sent again: not trained, not charged, not committed a second time."""
    answers: list[RecordDict] = []

    def train_twice(message: Message, context: Context) -> RecordDict:
        answers.extend(client_app()(message, context).content for _ in range(2))
        return answers[1]

    federation = make_federation(partition={"institutions": 2}, privacy={"dp": True})
    federation.run({1: liar(train=train_twice)})
    assert answers[0] == answers[1]
    assert charges(federation.directory) == (1, 1)
    assert len([event for event in federation.ledger.events() if event.name == "UpdateSubmitted"]) == 2
    assert federation.state().phase is Phase.FINALIZED
