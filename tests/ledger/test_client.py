"""The ledger through its client on a real node: a whole round, each refusal by name, and what goes wrong around it."""

from typing import Any

import pytest
from studies import CONFIG, StudyOnChain
from web3 import Web3

from fedchest.errors import ChainError
from fedchest.ledger.artifact import artifact
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.events import snake_case
from fedchest.ledger.records import Rules
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.transactions import Sender

pytestmark = pytest.mark.e2e

OUTSIDER = Web3.to_checksum_address("0x" + 40 * "9")


def test_events_hold_what_web3_decodes(study: StudyOnChain, chain: LocalChain) -> None:
    study.finalized_round()
    study.coordinator.abandon(study.coordinator.open_round(CONFIG), {0: 16})
    w3 = connect(chain.rpc_url)
    contract = w3.eth.contract(address=Web3.to_checksum_address(study.address), abi=artifact().abi)
    decoded = {
        (log["blockNumber"], log["logIndex"]): log["args"]
        for entry in artifact().abi
        if entry["type"] == "event"
        for log in contract.events[entry["name"]]().get_logs(from_block=0)
    }
    events = study.coordinator.events()
    assert len(events) == len(decoded) > 15
    assert {type(event.values["agrees"]) for event in events if event.name == "Attested"} == {bool}
    for event in events:
        arguments = {snake_case(name): value for name, value in decoded[event.block, event.index].items()}
        own = {"round": event.round, "institution": event.institution, **event.values}
        assert {name: value for name, value in own.items() if value is not None} == {
            name: Rules(*value.values())
            if name == "rules"
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in arguments.items()
        }


@pytest.mark.parametrize(
    "change",
    [
        {"data": "0x"},
        {"data": "0x" + "ff" * 32},
        {"data": "0x" + "00" * 64},
        {"data": "0xzz"},
        {"topics": ["0x" + "77" * 32]},
        {"topics": []},
    ],
)
def test_a_log_that_is_no_event_of_ours_is_one_sentence(
    study: StudyOnChain, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """As a node may make it up: here of the event Credited, whose data is one integer of 64 bits."""
    study.finalized_round()

    def forged(*arguments: Any) -> list[dict[str, Any]]:
        return [{**log, **change} for log in command(*arguments) if log["data"][2:] == f"{500_000:064x}"]

    monkeypatch.setattr("fedchest.ledger.events.command", forged)
    with pytest.raises(ChainError, match="none of the ledger's events, in block"):
        study.coordinator.events()


def test_a_refused_action_sends_nothing(study: StudyOnChain, chain: LocalChain) -> None:
    w3 = connect(chain.rpc_url)
    before = w3.eth.block_number
    with pytest.raises(LedgerRefusal):
        study.submit(0, 1)
    assert w3.eth.block_number == before


def test_a_failed_transaction_is_a_refusal_too(study: StudyOnChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal passes, and another transaction comes in between: here the same attestation, sent twice."""
    round = study.proposed_round()
    deliver = Sender.send

    def send_after_another(sender: Sender, to: str | None, data: str, gas: int) -> Any:
        monkeypatch.setattr(Sender, "send", deliver)
        deliver(sender, to, data, gas)
        return deliver(sender, to, data, gas)

    monkeypatch.setattr(Sender, "send", send_after_another)
    with pytest.raises(LedgerRefusal, match="AlreadyAttested"):
        study.attest(0, round)


def test_a_wrong_address_chain_or_node_is_one_sentence(study: StudyOnChain, chain: LocalChain) -> None:
    with pytest.raises(ChainError, match=r"^No Ethereum node answers at http://127\.0\.0\.1:1; .*\.$"):
        LedgerClient("http://127.0.0.1:1", study.address)
    with pytest.raises(ChainError, match="No Ethereum node answers at somewhere"):
        LedgerClient("somewhere", study.address)
    with pytest.raises(ChainError, match="has id 31337, not 1"):
        LedgerClient(chain.rpc_url, study.address, chain_id=1)
    with pytest.raises(ChainError, match="no contract"):
        LedgerClient(chain.rpc_url, OUTSIDER)
    with pytest.raises(ChainError, match="not an Ethereum address"):
        LedgerClient(chain.rpc_url, "0x12")


def test_other_code_at_the_address_is_refused(study: StudyOnChain, chain: LocalChain) -> None:
    w3 = connect(chain.rpc_url)
    code = bytes(w3.eth.get_code(Web3.to_checksum_address(study.address)))
    command(w3, "anvil_setCode", study.address, "0x" + code[:-1].hex() + "00")
    with pytest.raises(ChainError, match="not the ledger"):
        LedgerClient(chain.rpc_url, study.address)
