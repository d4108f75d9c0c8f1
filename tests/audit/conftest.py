"""One finished run with a refused update in it, a node that holds its chain, and copies to tamper with."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from audit_support import LIAR, play
from flwr.app import Context, Message, RecordDict
from small_federation import founded, liar, small_settings
from studies import StudyOnChain

from fedchest.audit.report import Report
from fedchest.audit.source import chain_source
from fedchest.audit.verify import verify_run
from fedchest.federation.apps import client_app
from fedchest.federation.directory import RunDirectory
from fedchest.federation.messages import ModelMessage, UpdateReply
from fedchest.federation.results import collect, write_results
from fedchest.ledger.chain import LocalChain

Verify = Callable[[RunDirectory], Report]


def flip_a_bit_in_round_1(message: Message, context: Context) -> RecordDict:
    """Train and commit honestly, and send other sealed bytes in the first round."""
    honest = client_app()(message, context).content
    if ModelMessage.from_record(message.content).round != 1:
        return honest
    reply = UpdateReply.from_record(honest)
    changed = bytes([*reply.sealed[:-1], reply.sealed[-1] ^ 1])
    return UpdateReply(changed, reply.manifest, reply.num_examples).to_record()


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory, cohort_folder: Path, image_cache: Path
) -> RunDirectory:
    """Two finalized rounds of 4 hospitals with DP on; the last hospital's first update was refused."""
    sections = {"training": {"rounds": 2}, "privacy": {"dp": True}}
    settings = small_settings(
        cohort_folder, tmp_path_factory.mktemp("audited") / "run", image_cache, sections
    )
    with founded(settings) as federation:
        federation.run({LIAR: liar(train=flip_a_bit_in_round_1)})
        results = collect(
            federation.directory,
            federation.study,
            federation.ledger,
            federation.settings,
            {},
        )
        write_results(federation.directory, results)
    return federation.directory


@pytest.fixture(scope="session")
def node(finished_run: RunDirectory) -> Iterator[str]:
    """The address of a node that holds the finished run's chain, whatever tests do to copies of the run."""
    with chain_source(finished_run) as source:
        assert source.rpc_url is not None
        yield source.rpc_url


@pytest.fixture
def run(finished_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run, to be tampered with."""
    shutil.copytree(finished_run.root, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def verify(node: str) -> Verify:
    """Verify all of a run against the node, which spares rebuilding the chain."""
    return lambda directory: verify_run(directory, rpc_url=node, keep_going=True)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """One Anvil for the index's tests; those that roll it back leave what was there before."""
    with LocalChain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="session")
def played(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> StudyOnChain:
    """A study of four institutions whose chain holds every event and every outcome of a round."""
    study = StudyOnChain(chain.rpc_url, tmp_path_factory.mktemp("played"))
    play(study, chain.rpc_url)
    return study
