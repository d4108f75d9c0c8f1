"""What cosignatures amount to: finality by a quorum, proofs against who answers twice, and how far lies reach."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from consortium import GENESIS, roster_of, signed, wallets
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedchest.errors import StoreError, TamperError
from fedchest.ledger.wallet import Wallet
from fedchest.ledger.witness.roster import Roster, quorum, read_roster, tolerated, write_roster
from fedchest.ledger.witness.tally import Equivocation, Tally


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Wallet]:
    return wallets(tmp_path_factory.mktemp("members"), 7)


@given(st.integers(1, 10_000))
def test_two_quorums_share_more_members_than_may_lie_and_the_rest_make_one(n: int) -> None:
    assert 2 * quorum(n) - n > tolerated(n)
    assert n - tolerated(n) >= quorum(n)
    assert quorum(n) == n // 3 * 2 + n % 3 * 2 // 3 + 1


@pytest.mark.parametrize("n", [4, 7, 16, 64])
def test_one_more_liar_than_tolerated_could_break_safety_or_progress(n: int) -> None:
    assert n - (tolerated(n) + 1) < quorum(n)


def test_a_block_is_final_by_a_quorum_of_different_members(members: list[Wallet]) -> None:
    tally = Tally(roster_of(members[:4]))
    tally.add([signed(members[0], 1, b"a")] * 3)
    tally.add([signed(members[1], 1, b"a")])
    assert tally.final() is None
    tally.add([signed(members[4], 1, b"a")])  # no member
    tally.add([signed(members[2], 1, b"b"), signed(members[2], 2, b"a")])
    tally.add([signed(members[2], 1, b"a", genesis=b"g" * 32)])  # of another chain
    assert tally.final() is None
    last = signed(members[3], 1, b"a")
    tally.add([last])
    assert tally.final() == last.checkpoint


def test_the_highest_block_counts_whatever_the_order(members: list[Wallet]) -> None:
    votes = [signed(member, height, bytes([height])) for height in (3, 1, 2) for member in members[:3]]
    final = Tally(roster_of(members[:4]), votes).final()
    assert final is not None and final.height == 3


def test_two_answers_are_proof_against_their_signer_alone(members: list[Wallet]) -> None:
    roster = roster_of(members[:4])
    votes = [signed(member, 5, b"a") for member in members[:4]] + [signed(members[1], 5, b"b")]
    (found,) = Tally(roster, votes).equivocations()
    assert (found.signer, found.height) == (members[1].address, 5)
    assert found.proves(roster)


def test_what_proves_nothing(members: list[Wallet]) -> None:
    one, two, outsider = members[0], members[1], members[5]
    roster = roster_of(members[:4])
    a, b = signed(one, 5, b"a"), signed(one, 5, b"b")
    assert Equivocation(a, b).proves(roster)
    nothing = {
        "the same block": (a, signed(one, 5, b"a")),
        "two heights": (a, signed(one, 6, b"b")),
        "two signers": (a, signed(two, 5, b"b")),
        "another's signature under this name": (a, replace(signed(two, 5, b"b"), signer=one.address)),
        "a signature over another block": (a, replace(b, signature=a.signature)),
        "no member": (signed(outsider, 5, b"a"), signed(outsider, 5, b"b")),
        "another chain": (signed(one, 5, b"a", b"g" * 32), signed(one, 5, b"b", b"g" * 32)),
        "two chains": (a, signed(one, 5, b"b", b"g" * 32)),
    }
    for what, (first, second) in nothing.items():
        assert not Equivocation(first, second).proves(roster), what
    elsewhere = roster.model_copy(update={"chain_id": 1})
    assert not Equivocation(a, b).proves(elsewhere)


@pytest.mark.parametrize("n", [4, 7])
def test_no_lies_of_as_many_as_are_tolerated_make_two_blocks_final(members: list[Wallet], n: int) -> None:
    """However the honest are shown one of two blocks, with the liars signing both."""
    group, f = members[:n], tolerated(n)
    liars, honest = group[:f], group[f:]
    lies = [signed(liar, 1, block) for liar in liars for block in (b"a", b"b")]
    shown = {(member.address, block): signed(member, 1, block) for member in honest for block in (b"a", b"b")}
    for views in product((b"a", b"b"), repeat=len(honest)):
        votes = [shown[member.address, view] for member, view in zip(honest, views, strict=True)]
        tally = Tally(roster_of(group), lies + votes)
        tally.final()  # raises if two were
        assert {found.signer for found in tally.equivocations()} == {liar.address for liar in liars}


def test_more_liars_can_break_it_and_are_named(members: list[Wallet]) -> None:
    group = members[:4]
    lies = [signed(liar, 1, block) for liar in group[:2] for block in (b"a", b"b")]
    votes = [signed(group[2], 1, b"a"), signed(group[3], 1, b"b")]
    tally = Tally(roster_of(group), lies + votes)
    with pytest.raises(TamperError, match="Two blocks of height 1 have a quorum each") as broken:
        tally.final()
    assert all((member.address in str(broken.value)) == (member in group[:2]) for member in group)


def test_a_dispute_names_who_signed_what(members: list[Wallet]) -> None:
    votes = [signed(members[0], 2, b"a"), signed(members[1], 2, b"b"), signed(members[2], 2, b"b")]
    tally = Tally(roster_of(members[:4]), votes)
    (dispute,) = tally.disputes()
    assert dispute.height == 2
    assert dispute.signers[b"a".ljust(32, b"\0")] == (members[0].address,)
    assert tally.against(votes[0].checkpoint) == {members[1].address, members[2].address}
    assert tally.equivocations() == []


def test_a_roster_is_read_back(members: list[Wallet], tmp_path: Path) -> None:
    roster = roster_of(members)
    write_roster(tmp_path / "roster.json", roster)
    assert read_roster(tmp_path / "roster.json") == roster
    assert roster.genesis_hash == GENESIS


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"members": 3}'])
def test_a_file_that_is_no_roster_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "roster.json").write_text(content)
    with pytest.raises(StoreError, match="is no roster of witnesses"):
        read_roster(tmp_path / "roster.json")
    with pytest.raises(StoreError, match="can't be read"):
        read_roster(tmp_path / "absent.json")


def test_members_are_addresses_and_named_once(members: list[Wallet]) -> None:
    address = members[0].address
    for wrong in ((), (address, address), (address.lower(),), ("0x12",)):
        with pytest.raises(ValidationError):
            Roster(chain_id=1, genesis="0x" + 64 * "0", members=wrong)
