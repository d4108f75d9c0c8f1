"""Blocks from first principles, and how a contract came to be: what a node or a creator makes up is named."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import RULES, StudyOnChain
from web3 import Web3

from fedchest.audit.case import Case
from fedchest.audit.history import check_block
from fedchest.audit.report import Fault, Faults
from fedchest.audit.source import Source
from fedchest.audit.steps.chain.blocks import blocks, constructor
from fedchest.errors import ChainError, ProofError
from fedchest.federation.directory import RunDirectory
from fedchest.ledger.artifact import artifact
from fedchest.ledger.blocks import Block, Transaction
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.records import Event
from fedchest.ledger.rpc import connect
from fedchest.ledger.wallet import Wallet

pytestmark = pytest.mark.e2e

RULES_TYPE = "(bytes32,bytes32,uint16,uint32,uint32,uint16,uint16,bool,bool,uint64,uint64)"
INITIAL_MODEL_SLOT = 11


def case_of(ledger: LedgerClient, rpc_url: str, folder: Path) -> Case:
    case = Case(RunDirectory(folder), Source(rpc_url, "a node", [], [], {}), folder / "no.key")
    vars(case)["ledger"] = ledger
    return case


@pytest.fixture(scope="module")
def case(chain: LocalChain, played: StudyOnChain, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(played.coordinator, chain.rpc_url, tmp_path_factory.mktemp("case"))


def telling(case: Case, **facts: Any) -> Case:
    other = Case(case.directory, case.source, case.key_file)
    known = {name: getattr(case, name) for name in ("ledger", "blocks", "events")}
    vars(other).update(known | facts)
    return other


# Blocks.


def test_a_chain_of_anvils_blocks_holds(case):
    assert "under their roots" in blocks(case)


def rebuilt(case: Case, number: int, **parts: Any) -> Case:
    """The chain with parts of one block replaced."""
    changed = replace(case.blocks[number], **parts)
    return telling(case, blocks=[*case.blocks[:number], changed, *case.blocks[number + 1 :]])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda block: {"raw_transactions": ()}, "root of its transactions"),
        (lambda block: {"raw_transactions": block.raw_transactions * 2}, "root of its transactions"),
        (lambda block: {"receipts": ()}, "root of its receipts"),
        (lambda block: {"receipts": (block.receipts[0][:-1] + b"?",)}, "root of its receipts"),
    ],
)
def test_parts_that_are_not_under_the_headers_roots(case, change: Callable[[Block], dict[str, Any]], what):
    last = len(case.blocks) - 1
    with pytest.raises(Fault, match=f"block {last}: the {what}"):
        blocks(rebuilt(case, last, **change(case.blocks[last])))


def test_a_block_that_is_left_out(case):
    with pytest.raises(Fault, match="block 3: its number is another"):
        blocks(telling(case, blocks=[*case.blocks[:3], *case.blocks[4:]]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_a_block_breaks_the_chain(case, data):
    number = data.draw(st.integers(1, len(case.blocks) - 2))
    block, after = case.blocks[number], case.blocks[number + 1]
    part = data.draw(st.sampled_from(["encoded_header", "raw_transactions", "receipts"]))
    whole = getattr(block, part)
    content = bytearray(whole if part == "encoded_header" else whole[0] if whole else b"")
    if not content:
        return
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = replace(block, **{part: bytes(content) if part == "encoded_header" else (bytes(content),)})
    with pytest.raises((Faults, ProofError)):
        check_block(changed, number, block.header.parent)
        check_block(after, number + 1, changed.header.hash)


@pytest.mark.parametrize(
    "change",
    [
        lambda event: None,
        lambda event: replace(event, institution=3),
        lambda event: replace(event, sender="0x" + "22" * 20),
        lambda event: replace(event, values={**event.values, "agrees": False}),
        lambda event: replace(event, values={**event.values, "checks": 7}),
    ],
)
def test_an_event_that_the_node_drops_or_rewrites(case, change: Callable[[Event], Event | None]):
    """The node's answers are compared with its receipts, whose root the block's hash covers."""
    vote = next(event for event in case.events if event.name == "Attested")
    told = [change(event) if event is vote else event for event in case.events]
    with pytest.raises(Fault, match="told otherwise than the receipts hold it") as fault:
        blocks(telling(case, events=[event for event in told if event is not None]))
    finding = fault.value.findings[0]
    assert (finding.round, finding.institution) == (vote.round, vote.institution)
    assert finding.expected is not None and finding.expected.startswith("Attested in block")


def test_an_event_that_the_node_makes_up(case):
    vote = next(event for event in case.events if event.name == "Attested")
    with pytest.raises(Fault, match="told otherwise"):
        blocks(telling(case, events=[*case.events, vote]))


def test_a_transaction_with_another_signature_has_another_sender_or_none(case):
    raw = bytearray(case.blocks[1].raw_transactions[0])
    honest = Transaction.from_bytes(bytes(raw))
    raw[-1] ^= 1
    with suppress(ChainError):
        assert Transaction.from_bytes(bytes(raw)).sender != honest.sender


# The constructor.


def test_the_shipped_constructor(case):
    assert "by the shipped constructor" in constructor(case)


@pytest.mark.parametrize("field", ["coordinator", "rules"])
def test_an_event_that_tells_other_arguments(case, field):
    (created,) = case.events_of("StudyCreated")
    other = {
        "coordinator": "0x" + "22" * 20,
        "rules": replace(RULES, crash_only=True),
    }[field]
    changed = replace(created, values={**created.values, field: other})
    with pytest.raises(Fault, match="than its event tells"):
        constructor(telling(case, events=[changed if event is created else event for event in case.events]))


def push(number: int) -> bytes:
    return b"\x63" + number.to_bytes(4)


def forged_constructor(coordinator: str, words: dict[int, bytes]) -> bytes:
    """Creation code that fills storage as it likes, tells StudyCreated, and leaves the shipped code behind."""
    runtime = artifact().deployed_bytecode
    data = encode([RULES_TYPE], [astuple(RULES)])
    topic = Web3.keccak(text=f"StudyCreated(address,{RULES_TYPE})")
    owner = bytes(12) + bytes.fromhex(coordinator[2:])
    writes = b"".join(
        b"\x7f" + value + b"\x7f" + slot.to_bytes(32) + b"\x55" for slot, value in words.items()
    )

    def code(start: int) -> bytes:
        tell = push(len(data)) + push(start) + push(0) + b"\x39"
        tell += b"\x7f" + owner + b"\x7f" + bytes(topic) + push(len(data)) + push(0) + b"\xa2"
        leave = push(len(runtime)) + push(start + len(data)) + push(0) + b"\x39"
        return writes + tell + leave + push(len(runtime)) + push(0) + b"\xf3"

    return code(len(code(0))) + data + runtime


def factory(creation: bytes) -> bytes:
    """Creation code of a contract that creates another one, and leaves nothing of its own."""
    start = len(push(0)) * 5 + 4
    make = push(len(creation)) + push(start) + push(0) + b"\x39" + push(len(creation)) + push(0) + b"\x5f\xf0"
    return make.ljust(start, b"\x00") + creation  # the padding stops it


def created(rpc_url: str, wallet: Wallet, code: bytes) -> str | None:
    w3 = connect(rpc_url)
    fields = {
        "chainId": w3.eth.chain_id,
        "nonce": w3.eth.get_transaction_count(wallet.address),
        "gas": 6_000_000,
        "gasPrice": 0,
        "value": 0,
        "data": "0x" + code.hex(),
    }
    sent = w3.eth.send_raw_transaction(bytes(wallet.sign(fields).raw_transaction))
    return w3.eth.wait_for_transaction_receipt(sent)["contractAddress"]


def test_a_forged_constructor_leaves_the_shipped_code_and_a_storage_of_its_choice(chain, tmp_path):
    """The deployed code is the shipped one, so that a client opens it: only the creation shows what it is."""
    wallet = Wallet.create(tmp_path / "forger.key")
    address = created(
        chain.rpc_url, wallet, forged_constructor(wallet.address, {INITIAL_MODEL_SLOT: b"?" * 32})
    )
    ledger = LedgerClient(chain.rpc_url, str(address))
    assert ledger.global_model() == ledger.initial_model() == b"?" * 32
    with pytest.raises(Fault, match="by other code than the shipped constructor"):
        constructor(case_of(ledger, chain.rpc_url, tmp_path))


def test_a_ledger_that_another_contract_created(chain, tmp_path):
    wallet = Wallet.create(tmp_path / "forger.key")
    arguments = encode([RULES_TYPE], [astuple(RULES)])
    parent = created(chain.rpc_url, wallet, factory(artifact().bytecode + arguments))
    address = Web3.to_checksum_address(
        Web3.keccak(b"\xd6\x94" + bytes.fromhex(str(parent)[2:]) + b"\x01")[-20:]
    )
    ledger = LedgerClient(chain.rpc_url, address)
    with pytest.raises(Fault, match="was not created by a transaction of its own"):
        constructor(case_of(ledger, chain.rpc_url, tmp_path))
