"""A node that hangs, drips, loses or answers rubbish: what is asked comes through with patience, or ends in time."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_node import SPOILED, HostileNetwork, hostile_network
from studies import CONFIG, NEW_MODEL, ROOT, StudyOnChain, gathered

from fedchest.errors import ChainError
from fedchest.ledger import provider
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.journal import Journal
from fedchest.ledger.records import Phase, Proposal
from fedchest.ledger.rpc import connect
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e

ATTEMPT_SECONDS = 0.25
SLOW = {"hangs", "drips", "is late"}
# The others belong to one method's answer, whose own tests are below.
EVERYWHERE = sorted(SPOILED.keys() - {"is of another chain", "is a huge number"})


@pytest.fixture
def network(chain: LocalChain, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileNetwork]:
    monkeypatch.setattr(provider, "_ATTEMPT_SECONDS", ATTEMPT_SECONDS)
    with hostile_network(chain.rpc_url) as network:
        yield network


def through(network: HostileNetwork, study: StudyOnChain, wallet: Wallet, patience: float) -> LedgerClient:
    return LedgerClient(
        network.rpc_url, study.address, wallet, Journal(wallet.path.with_suffix(".jsonl")), patience=patience
    )


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.slow if fault in SLOW else ()) for fault in EVERYWHERE]
)
def test_a_round_comes_through_once(study: StudyOnChain, network: HostileNetwork, fault: str) -> None:
    """Every other answer of each method is spoiled, those to transactions included."""
    coordinator = through(network, study, study.wallet, patience=60)
    first, second = (through(network, study, wallet, patience=60) for wallet in study.wallets[:2])
    network.spoil(lambda method, count: fault if count % 2 else None)

    round = coordinator.open_round(CONFIG)
    for number, institution in enumerate((first, second)):
        institution.submit_update(study.update(number, round))
    coordinator.propose(
        round, Proposal(NEW_MODEL, b"r" * 32, b"q" * 32, gathered([0, 1]), ROOT), [0, 1], (), {}
    )

    network.spoil(lambda method, count: None)
    assert coordinator.round(round).phase is Phase.PROPOSED
    names = [event.name for event in study.coordinator.events()]
    assert names[-4:] == ["RoundOpened", "UpdateSubmitted", "UpdateSubmitted", "AggregateProposed"]
    assert names.count("RoundOpened") == 1
    w3 = connect(network.rpc_url)
    sent = [w3.eth.get_transaction_count(w3.to_checksum_address(wallet.address)) for wallet in study.wallets]
    assert sent == [2, 2, 1, 0]  # one each of the first three was the founding's


@pytest.mark.parametrize("fault", EVERYWHERE)
def test_the_wait_for_a_chain_that_does_not_come_back_ends(
    study: StudyOnChain, network: HostileNetwork, fault: str
) -> None:
    client = through(network, study, study.wallet, patience=1.0)
    network.spoil(lambda method, count: fault)
    start = time.monotonic()
    with pytest.raises(ChainError, match=rf"^No Ethereum node answers at {network.rpc_url}; .*\.$"):
        client.open_round(CONFIG)
    assert time.monotonic() - start < 10
    assert sum(network.seen.values()) > 2 or fault in SLOW


def test_without_patience_the_first_failure_is_told(study: StudyOnChain, network: HostileNetwork) -> None:
    client = through(network, study, study.wallet, patience=0)
    network.spoil(lambda method, count: "is an HTTP error")
    with pytest.raises(ChainError, match=r"\(HTTP status 503, after 0 s\)"):
        client.current_round()
    assert sum(network.seen.values()) == 1


def test_pauses_between_attempts_grow(study: StudyOnChain, network: HostileNetwork) -> None:
    """A chain that is down for long is not asked all the time: without back-off these would be hundreds."""
    client = through(network, study, study.wallet, patience=2.0)
    network.spoil(lambda method, count: "is an HTTP error")
    with pytest.raises(ChainError):
        client.current_round()
    assert 4 <= network.seen["eth_call"] <= 14


def test_a_transaction_whose_answers_are_all_lost_is_found_in_its_block(
    study: StudyOnChain, network: HostileNetwork
) -> None:
    """The node takes it and never says so: what counts is what the chain has."""
    client = through(network, study, study.wallet, patience=5)
    network.spoil(
        lambda method, count: "is lost" if method == "eth_sendRawTransaction" and count < 4 else None
    )
    assert client.open_round(CONFIG) == 1
    assert network.seen["eth_sendRawTransaction"] == 4
    assert [event.name for event in study.coordinator.events()].count("RoundOpened") == 1


def test_another_chain_is_refused_and_nothing_is_signed_for_it(
    study: StudyOnChain, network: HostileNetwork, tmp_path: Path
) -> None:
    network.spoil(lambda method, count: "is of another chain" if method == "eth_chainId" else None)
    with pytest.raises(ChainError, match="has id 1, not 31337"):
        through(network, study, study.wallets[3], patience=5)  # one that has sent nothing so far
    assert not list(tmp_path.glob("institution3.sent"))


def test_a_chain_that_says_another_id_later_gets_no_signature_for_it(
    study: StudyOnChain, network: HostileNetwork
) -> None:
    """Asked twice, at the connection and to be pinned; the pinned one is what is signed for."""
    network.spoil(
        lambda method, count: "is of another chain" if method == "eth_chainId" and count > 2 else None
    )
    assert through(network, study, study.wallet, patience=5).open_round(CONFIG) == 1


def test_an_estimate_beyond_what_can_be_needed_is_refused(
    study: StudyOnChain, network: HostileNetwork
) -> None:
    client = through(network, study, study.wallet, patience=5)
    network.spoil(lambda method, count: "is a huge number" if method == "eth_estimateGas" else None)
    with pytest.raises(ChainError, match=r"estimates 1099511627776 gas where 740000 is the most"):
        client.open_round(CONFIG)
    assert network.seen["eth_sendRawTransaction"] == 0


def test_an_address_that_does_not_resolve_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolving a name knows no time limit of its own."""
    monkeypatch.setattr(provider, "_ATTEMPT_SECONDS", ATTEMPT_SECONDS)
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **facts: time.sleep(30))
    start = time.monotonic()
    with pytest.raises(ChainError, match="no answer within"):
        connect("http://chain.example:8545")
    assert time.monotonic() - start < 10
