"""The Merkle tree over a round's artifacts, against the contract's own check of a proof."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import CONFIG, StudyOnChain

from fedchest.ledger.artifact import artifact
from fedchest.ledger.artifact_tree import Artifact, artifact_proof, artifact_root, round_artifacts
from fedchest.ledger.records import ArtifactKind, Submission
from fedchest.ledger.rpc import connect

HASHES = st.binary(min_size=32, max_size=32)
ARTIFACTS = st.lists(
    st.builds(Artifact, st.sampled_from(ArtifactKind), st.integers(0, 2**16 - 1), HASHES),
    min_size=1,
    unique=True,
)


def round_of(accepted: int) -> list[Artifact]:
    submission = Submission(b"c" * 32, b"s" * 32, b"p" * 32, b"m" * 32, 1, 0)
    return round_artifacts(dict.fromkeys(range(accepted), submission), b"q" * 32, b"n" * 32, b"r" * 32)


@pytest.mark.e2e
@pytest.mark.parametrize("accepted", [2, 3, 4])
def test_the_contract_takes_the_proof_of_each_artifact_and_of_no_other(chain, tmp_path, accepted):
    study = StudyOnChain(chain.rpc_url, tmp_path)
    artifacts = round_of(accepted)
    number = study.coordinator.open_round(CONFIG)
    for institution in range(accepted):
        study.submit(institution, number)
    study.propose(number, accepted=list(range(accepted)), artifacts=artifact_root(artifacts))
    functions = connect(chain.rpc_url).eth.contract(study.address, abi=artifact().abi).functions

    def holds(one: Artifact, proof: list[bytes]) -> bool:
        return bool(functions.isArtifact(number, one.kind, one.institution, one.hash, proof).call())

    for one in artifacts:
        proof = artifact_proof(artifacts, one)
        assert holds(one, proof)
        assert not holds(replace(one, hash=b"x" * 32), proof)
        assert not holds(replace(one, institution=one.institution + 9), proof)
        assert not holds(replace(one, kind=ArtifactKind((one.kind + 1) % len(ArtifactKind))), proof)
        assert not holds(one, proof[:-1])


@given(ARTIFACTS, st.data())
def test_any_change_is_another_root(artifacts, data):
    place = data.draw(st.integers(0, len(artifacts) - 1))
    changed = replace(
        artifacts[place], hash=data.draw(HASHES.filter(lambda other: other != artifacts[place].hash))
    )
    assert artifact_root([*artifacts[:place], changed, *artifacts[place + 1 :]]) != artifact_root(artifacts)


@given(ARTIFACTS, st.data())
def test_a_missing_artifact_is_another_root(artifacts, data):
    place = data.draw(st.integers(0, len(artifacts) - 1))
    left = artifacts[:place] + artifacts[place + 1 :]
    assert not left or artifact_root(left) != artifact_root(artifacts)


def test_what_a_round_rests_on_whatever_the_order_it_came_in():
    accepted = {2: Submission(b"c" * 32, b"s" * 32, b"p" * 32, b"m" * 32, 1, 0)}
    accepted |= {0: Submission(b"d" * 32, b"t" * 32, b"o" * 32, b"l" * 32, 1, 0)}
    kinds = [
        (one.kind, one.institution) for one in round_artifacts(accepted, b"q" * 32, b"n" * 32, b"r" * 32)
    ]
    assert kinds == [(0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (3, 0), (4, 0)]
