"""Inclusion proofs: what they say is what the chain says, and nothing else can be made of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import rlp
from click.testing import CliRunner, Result
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import CONFIG, INITIAL_MODEL, NEW_MODEL, StudyOnChain

from fedchest.audit.inclusion import Statement, check, examine
from fedchest.audit.proof import LARGEST_FILE, InclusionProof, read_proof, write_proof
from fedchest.audit.prove import prove
from fedchest.cli.audit import audit
from fedchest.errors import ChainError, ConfigError, ProofError, StoreError
from fedchest.federation.directory import RunDirectory
from fedchest.federation.results import read_results
from fedchest.ledger import snapshot
from fedchest.ledger.chain import LocalChain
from fedchest.ledger.records import Phase
from fedchest.ledger.rpc import command, connect
from fedchest.ledger.storage import LedgerStorage

pytestmark = pytest.mark.e2e

FUZZED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def own_hash(kind: str, institution: int, round: int) -> bytes:
    return keccak(f"{kind} {institution} {round}".encode())


def submit(study: StudyOnChain, institution: int, round: int) -> None:
    """An update whose hashes no other has."""
    kinds = ("sealed_hash", "plaintext_hash", "manifest_hash")
    study.submit(institution, round, **{kind: own_hash(kind, institution, round) for kind in kinds})


@pytest.fixture(scope="session")
def proven(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> StudyOnChain:
    """A finalized round of which one update was refused, then an open one."""
    study = StudyOnChain(chain.rpc_url, tmp_path_factory.mktemp("proven"))
    first = study.coordinator.open_round(CONFIG)
    for institution in range(3):
        submit(study, institution, first)
    study.propose(first, accepted=[0, 1], refusals={2: 10, 3: 1})
    for institution in range(3):
        study.attest(institution, first)
    submit(study, 0, study.coordinator.open_round(CONFIG))
    return study


@dataclass(frozen=True)
class Case:
    """A proof, the hash that its verifier has pinned, and what it proves."""

    proof: InclusionProof
    pinned: bytes
    statement: Statement


@pytest.fixture(scope="session")
def cases(proven: StudyOnChain) -> list[Case]:
    """An accepted, a refused and an open update, a final and an initial model; all as of one block."""
    ledger = proven.coordinator
    number, pinned = ledger.head()
    hashes = [
        own_hash("sealed_hash", 0, 1),
        own_hash("plaintext_hash", 2, 1),
        own_hash("manifest_hash", 0, 2),
        NEW_MODEL,
        INITIAL_MODEL,
    ]
    proofs = [prove(ledger, digest, block=number) for digest in hashes]
    return [Case(proof, pinned, check(proof, pinned)) for proof in proofs]


def test_what_a_hash_is_is_said_in_words(cases: list[Case]) -> None:
    assert [case.statement.subject for case in cases] == [
        "the sealed hash of institution 0's update in round 1: accepted, and in the model that the round finalized",
        "the plaintext hash of institution 2's update in round 1: submitted, and not accepted: the round was "
        "finalized without it",
        "the manifest hash of institution 0's update in round 2: submitted; the round has no proposal yet",
        "the model that round 1 finalized",
        "the model that round 1 started from",
    ]


def test_every_update_is_proven_as_the_events_tell_it(played: StudyOnChain) -> None:
    """No proof uses events; commitments are unlike each other, whatever else the updates share."""
    ledger = played.coordinator
    events = ledger.events()
    accepted = {
        event.round: event.values["accepted"] for event in events if event.name == "AggregateProposed"
    }
    submitted = [event for event in events if event.name == "UpdateSubmitted"]
    for event in submitted:
        proof = prove(ledger, event.values["commitment"])
        statement = check(proof, ledger.head()[1])
        assert statement.study == ledger.rules().study
        assert statement.contract == ledger.address
        assert statement.round == ledger.round(event.round)
        found = statement.update
        assert (found.institution, found.wallet) == (event.institution, event.sender)
        assert vars(found.submission) == dict(event.values)
        assert found.accepted == (event.institution in accepted.get(event.round, ()))
    assert len(submitted) > 8


@pytest.mark.parametrize("round", range(1, 7))
def test_a_proposed_model_is_called_final_only_where_it_was_finalized(
    played: StudyOnChain, round: int
) -> None:
    ledger = played.coordinator
    state = ledger.round(round)
    digest = state.new_model if any(state.new_model) else state.base_model
    statement = check(prove(ledger, digest, round=round), ledger.head()[1])
    assert (" finalized" in statement.subject) == (state.phase is Phase.FINALIZED)
    assert ("came to nothing" in statement.subject) == (state.phase is Phase.VOID and any(state.new_model))


def test_a_block_proves_what_was_so_then(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path)
    ledger = study.coordinator
    before, _ = ledger.head()
    round = study.proposed_round()
    proposed, pinned = ledger.head()
    for institution in range(3):
        study.attest(institution, round)
    statement = check(prove(ledger, NEW_MODEL, block=proposed), pinned)
    assert statement.subject == "the model proposed in round 1, not finalized so far"
    with pytest.raises(ProofError, match=f"Round 1 was not opened by block {before}"):
        prove(ledger, NEW_MODEL, block=before)
    with pytest.raises(ChainError, match="no block 999999"):
        prove(ledger, NEW_MODEL, block=999_999)


def test_a_hash_in_several_places_has_to_be_placed(chain: LocalChain, tmp_path: Path) -> None:
    study = StudyOnChain(chain.rpc_url, tmp_path)
    study.proposed_round()
    with pytest.raises(ConfigError, match="round 1, institution 0; round 1, institution 1"):
        prove(study.coordinator, b"s" * 32)
    proof = prove(study.coordinator, b"s" * 32, institution=1)
    assert proof.claim.update.institution == 1
    for options in ({"institution": 3}, {"round": 2}, {"round": -1}):
        with pytest.raises(ConfigError, match="no update or model there has this hash"):
            prove(study.coordinator, b"s" * 32, **options)


# What is not proven.


def test_no_bit_of_header_nodes_or_opening_can_be_changed(cases: list[Case]) -> None:
    for case in cases[:1]:
        for changed in one_bit_off(case.proof):
            with pytest.raises(ProofError):
                check(changed, case.pinned)


def one_bit_off(proof: InclusionProof) -> Iterator[InclusionProof]:
    for header in flipped(proof.header):
        yield proof.model_copy(update={"header": header})
    for place, node in enumerate(proof.nodes):
        for other in flipped(node):
            yield proof.model_copy(update={"nodes": (*proof.nodes[:place], other, *proof.nodes[place + 1 :])})
    for name in ("hash", "contract"):
        for other in flipped(getattr(proof.claim, name)):
            yield proof.model_copy(update={"claim": proof.claim.model_copy(update={name: other})})
    for name in ("sealed_hash", "plaintext_hash", "manifest_hash"):
        for other in flipped(getattr(proof.claim.update, name)):
            update = proof.claim.update.model_copy(update={name: other})
            yield proof.model_copy(update={"claim": proof.claim.model_copy(update={"update": update})})


def flipped(content: bytes) -> Iterator[bytes]:
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


@given(data=st.data())
@FUZZED
def test_a_changed_file_is_refused_or_says_the_same(cases: list[Case], tmp_path: Path, data: Any) -> None:
    case = data.draw(st.sampled_from(cases))
    content = bytearray(case.proof.model_dump_json(indent=1).encode())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "proof.json").write_bytes(content)
    try:
        statement = check(read_proof(tmp_path / "proof.json"), case.pinned)
    except (StoreError, ProofError):
        return
    assert statement == case.statement


def test_no_field_can_be_taken_from_another_proof(cases: list[Case]) -> None:
    """Of two proofs only what one of them proves can be put together."""
    tried = 0
    for one, other in permutations(cases, 2):
        for changed in mixed(one.proof, other.proof):
            tried += 1
            try:
                statement = check(changed, one.pinned)
            except ProofError:
                continue
            assert statement in (one.statement, other.statement)
    assert tried > 100


def mixed(one: InclusionProof, other: InclusionProof) -> Iterator[InclusionProof]:
    for name in ("claim", "header", "nodes"):
        yield one.model_copy(update={name: getattr(other, name)})
    for name in ("hash", "contract", "round", "update"):
        claim = one.claim.model_copy(update={name: getattr(other.claim, name)})
        yield one.model_copy(update={"claim": claim})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epsilon", 1_000_001, "not what institution 0 committed to in round 1"),
        ("chain_id", 1, "not what institution 0 committed to in round 1"),
        ("institution", 1, "incomplete"),
        ("institution", 65_535, "incomplete|not what institution 65535"),
    ],
)
def test_the_commitment_is_recomputed(cases: list[Case], name: str, value: int, message: str) -> None:
    proof, pinned = cases[0].proof, cases[0].pinned
    update = proof.claim.update.model_copy(update={name: value})
    claim = proof.claim.model_copy(update={"update": update})
    with pytest.raises(ProofError, match=message):
        check(proof.model_copy(update={"claim": claim}), pinned)


def test_a_block_that_is_not_pinned_proves_nothing(cases: list[Case]) -> None:
    with pytest.raises(ProofError, match="the pinned one 0x000000"):
        check(cases[0].proof, bytes(32))


def test_every_node_is_needed(cases: list[Case]) -> None:
    for case in cases:
        for place in range(len(case.proof.nodes)):
            nodes = case.proof.nodes[:place] + case.proof.nodes[place + 1 :]
            with pytest.raises(ProofError, match="incomplete"):
                check(case.proof.model_copy(update={"nodes": nodes}), case.pinned)


def test_other_code_at_the_address_is_refused(chain: LocalChain, tmp_path: Path) -> None:
    """A look-alike: the same storage, the same events if it likes, and one byte of code more."""
    study = StudyOnChain(chain.rpc_url, tmp_path)
    study.proposed_round()
    w3 = connect(chain.rpc_url)
    code = command(w3, "eth_getCode", study.address, "latest")
    command(w3, "anvil_setCode", study.address, code + "00")
    command(w3, "evm_mine")
    with pytest.raises(ProofError, match="is not the ledger"):
        prove(study.coordinator, NEW_MODEL)


def test_an_address_without_a_contract_is_refused(cases: list[Case], chain: LocalChain) -> None:
    case = cases[0]
    absent = "0x" + "00" * 19 + "77"
    block = hex(case.statement.header.number)
    answer = command(connect(chain.rpc_url), "eth_getProof", absent, [], block)
    nodes = tuple(bytes.fromhex(node[2:]) for node in answer["accountProof"])
    claim = case.proof.claim.model_copy(update={"contract": to_canonical_address(absent)})
    changed = case.proof.model_copy(update={"claim": claim, "nodes": nodes})
    with pytest.raises(ProofError, match="There is no contract"):
        check(changed, case.pinned)


def test_a_node_that_gives_a_wrong_header_is_named(
    proven: StudyOnChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lying(w3: Any, method: str, *parameters: Any) -> Any:
        answer = command(w3, method, *parameters)
        return answer | {"timestamp": "0x1"} if method == "eth_getBlockByNumber" else answer

    monkeypatch.setattr(snapshot, "command", lying)
    with pytest.raises(ChainError, match="does not hash to 0x"):
        prove(proven.coordinator, NEW_MODEL)


@pytest.mark.parametrize(
    "header",
    [b"\xc0", b"\x00", b"\xb8", b"\xc1" * 2000 + b"\xc0", rlp.encode([b""] * 15), rlp.encode([[b""]] * 21)],
    ids=["empty", "no list", "cut", "deep", "blank", "lists"],
)
def test_bytes_that_are_no_header_are_refused_even_when_pinned(cases: list[Case], header: bytes) -> None:
    with pytest.raises(ProofError, match="block header in the proof is not one"):
        check(cases[0].proof.model_copy(update={"header": header}), keccak(header))


@pytest.mark.parametrize("word", [1, 9], ids=["a model before its proposal", "an unknown phase"])
def test_words_that_the_contract_never_writes_are_refused(cases: list[Case], word: int) -> None:
    claim = cases[3].proof.claim.model_copy(update={"hash": word.to_bytes(32)})
    with pytest.raises(ProofError, match="can't have written"):
        examine(claim, cases[3].statement.header, LedgerStorage(lambda _slot: word))


_RLP = st.recursive(
    st.sampled_from([b"", b"\x00", b"\x16", b"\x20", b"\x00\x11"]) | st.binary(max_size=40),
    lambda items: st.lists(items, max_size=4) | st.lists(items, min_size=17, max_size=17),
    max_leaves=40,
)


@given(node=_RLP.map(rlp.encode) | st.binary(min_size=1, max_size=60))
@FUZZED
def test_a_state_made_up_for_a_pinned_header_is_refused(cases: list[Case], node: bytes) -> None:
    """Whoever believes a hash that somebody made up gets a refusal or lies, and never a traceback."""
    fields = rlp.decode(cases[0].proof.header)
    header = rlp.encode([*fields[:3], keccak(node), *fields[4:]])
    with pytest.raises(ProofError):
        check(cases[0].proof.model_copy(update={"header": header, "nodes": (node,)}), keccak(header))


# Files that are no proof.


def edited(proof: InclusionProof, *path: str, value: Any) -> bytes:
    content = proof.model_dump(mode="json")
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "path",
    [("claim", "round"), ("claim", "update", "institution"), ("claim", "update", "epsilon")],
    ids=".".join,
)
@pytest.mark.parametrize("value", ["1", True, None, -1, 1.0, 1 << 256, [1], {}])
def test_numbers_are_numbers(cases: list[Case], tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    refuse(tmp_path, edited(cases[0].proof, *path, value=value), path[-1])


@pytest.mark.parametrize(
    "path",
    [("header",), ("claim", "hash"), ("claim", "contract"), ("claim", "update", "sealed_hash")],
    ids=".".join,
)
@pytest.mark.parametrize("value", ["", "0x", "0x0", "0xzz", "0x" + "AB" * 32, 7, None, "0x" + "00" * 5000])
def test_bytes_are_hexadecimal(cases: list[Case], tmp_path: Path, path: tuple[str, ...], value: Any) -> None:
    refuse(tmp_path, edited(cases[0].proof, *path, value=value), path[-1])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "fedchest/inclusion-proof/v2"),
        (("nodes",), "0x00"),
        (("nodes",), [1] * 100_000),
        (("nodes",), ["0x00", {}]),
        (("claim", "update"), {}),
        (("claim",), None),
        (("finalized",), True),
        (("claim", "study"), "0x00"),
        (("claim", "\x1b[2J" + "k" * 1000), 1),
    ],
)
def test_what_is_not_of_the_form_is_named(cases: list[Case], tmp_path: Path, path: Any, value: Any) -> None:
    fault = refuse(tmp_path, edited(cases[0].proof, *path, value=value), ascii(path[0])[1:-1])
    assert len(fault) < 500 + len(str(tmp_path))
    assert fault.isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"[]", b"null", b"[" * 500_000, b'{"claim":' * 100_000, b"\xff\xfe{}", b"{}"],
)
def test_what_is_no_proof_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    refuse(tmp_path, content, "is no inclusion proof")


def test_a_file_is_read_up_to_a_limit(cases: list[Case], tmp_path: Path) -> None:
    content = cases[0].proof.model_dump_json().encode()
    refuse(tmp_path, content.ljust(LARGEST_FILE + 1), "more than 1,048,576 bytes")
    (tmp_path / "proof.json").write_bytes(content.ljust(LARGEST_FILE))
    assert read_proof(tmp_path / "proof.json") == cases[0].proof
    for unreadable in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreError, match="can't be read"):
            read_proof(unreadable)


def refuse(folder: Path, content: bytes, said: str) -> str:
    """The sentence by which the file is refused."""
    path = folder / "proof.json"
    path.write_bytes(content)
    with pytest.raises(StoreError) as fault:
        read_proof(path)
    assert said in str(fault.value)
    return str(fault.value)


# The commands.


def said(result: Result) -> str:
    """What a command printed, on one line."""
    return " ".join(result.output.split())


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(audit, [str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture
def file(cases: list[Case], tmp_path: Path) -> Path:
    path = tmp_path / "proof.json"
    assert write_proof(path, cases[0].proof) == path.stat().st_size
    return path


def test_check_against_a_pinned_hash(cases: list[Case], file: Path) -> None:
    pinned = "0x" + cases[0].pinned.hex()
    told = invoke("check", file, "--block-hash", pinned)
    assert (told.exception, told.return_value) == (None, 0)
    assert "institution 0's update in round 1: accepted" in said(told)
    assert "Anyone can create such a contract" in said(told)
    lines = invoke("check", file, "--block-hash", pinned, "--json").output.splitlines()
    facts = json.loads(lines[0])
    assert facts["holds"] is True
    assert (facts["round"], facts["phase"], facts["accepted"], facts["study"]) == (
        1,
        "FINALIZED",
        True,
        "0x" + b"d".hex() * 32,
    )


def test_check_says_by_its_exit_status_that_a_proof_does_not_hold(file: Path) -> None:
    told = invoke("check", file, "--block-hash", "0x" + "00" * 32)
    assert (told.exception, told.return_value) == (None, 1)
    assert "Does not hold: The proof's block is 0x" in said(told)
    told = invoke("check", file, "--block-hash", "00" * 32, "--json")
    assert told.return_value == 1
    assert json.loads(told.output)["holds"] is False


def test_check_asks_for_one_thing_to_trust(file: Path) -> None:
    for options in ([], ["--rpc", "http://127.0.0.1:1", "--block-hash", "00" * 32]):
        fault = invoke("check", file, *options).exception
        assert isinstance(fault, ConfigError)
        assert "proves nothing" in str(fault)
    fault = invoke("check", file, "--block-hash", "0x12").exception
    assert isinstance(fault, ConfigError)
    assert "allowed are 64 hexadecimal digits" in str(fault)


def test_check_requires_a_contract_that_is_named(cases: list[Case], proven: StudyOnChain, file: Path) -> None:
    pinned = cases[0].pinned.hex()
    told = invoke("check", file, "--block-hash", pinned, "--contract", proven.address)
    assert told.return_value == 0
    assert "Anyone can create" not in said(told)
    told = invoke("check", file, "--block-hash", pinned, "--contract", "0x" + "11" * 20)
    assert told.return_value == 1
    assert "not of 0x1111" in said(told)


def test_check_against_a_node(chain: LocalChain, file: Path, tmp_path: Path) -> None:
    assert invoke("check", file, "--rpc", chain.rpc_url).return_value == 0
    with LocalChain(tmp_path / "other") as other:
        told = invoke("check", file, "--rpc", other.rpc_url)
    assert told.return_value == 1
    assert "The chain has no block" in told.output
    assert isinstance(invoke("check", file, "--rpc", "http://127.0.0.1:1").exception, ChainError)


def test_a_run_is_proven_and_checked(
    finished_run: RunDirectory, node: str, file: Path, tmp_path: Path
) -> None:
    results = read_results(finished_run)
    out = tmp_path / "model.json"
    told = invoke("prove", finished_run.root, results.rounds[-1].model, "--rpc", node, "--out", out)
    assert told.exception is None
    assert f"is the model that round {len(results.rounds)} finalized" in told.output
    told = invoke("check", out, "--run", finished_run.root, "--json")
    assert told.return_value == 0
    assert json.loads(told.output)["study"] == "0x" + results.study
    told = invoke("check", file, "--run", finished_run.root)
    assert told.return_value == 1
    assert "The proof is of contract" in told.output


def test_a_chain_kept_by_ganache_is_proven_too(tmp_path: Path) -> None:
    with LocalChain(tmp_path / "chain", engine="ganache") as chain:
        study = StudyOnChain(chain.rpc_url, tmp_path)
        study.finalized_round()
        height, _ = study.coordinator.head()
        for block, phase in ((height, Phase.FINALIZED), (height - 1, Phase.PROPOSED)):
            (pinned,) = study.coordinator.block_hashes([block])
            assert check(prove(study.coordinator, NEW_MODEL, block=block), pinned).round.phase is phase


def test_checking_imports_nothing_that_reaches_a_network() -> None:
    program = "import sys, fedchest.audit.inclusion; print({'web3', 'requests'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"
