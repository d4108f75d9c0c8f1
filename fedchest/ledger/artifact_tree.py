"""The Merkle tree over a round's artifacts, whose root the proposal puts on chain.

Leaves and pairs are hashed as OpenZeppelin's MerkleProof expects: leaves twice, pairs in sorted order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from fedchest.ledger.records import ArtifactKind, Submission


@dataclass(frozen=True, order=True)
class Artifact:
    """One artifact of a round by its hash (32 bytes); `institution` is 0 for what is nobody's own."""

    kind: ArtifactKind
    institution: int
    hash: bytes

    @property
    def leaf(self) -> bytes:
        """Its leaf in the tree, 32 bytes."""
        return keccak(keccak(encode(["uint8", "uint16", "bytes32"], astuple(self))))


def round_artifacts(
    accepted: Mapping[int, Submission], sum_hash: bytes, model: bytes, record: bytes
) -> list[Artifact]:
    """What a proposal rests on: the accepted institutions' sealed updates and manifests, the sum, model and record."""
    shared = {ArtifactKind.SUM: sum_hash, ArtifactKind.MODEL: model, ArtifactKind.RECORD: record}
    return sorted(
        [
            *(Artifact(ArtifactKind.SEALED_UPDATE, id, one.sealed_hash) for id, one in accepted.items()),
            *(Artifact(ArtifactKind.MANIFEST, id, one.manifest_hash) for id, one in accepted.items()),
            *(Artifact(kind, 0, hash) for kind, hash in shared.items()),
        ]
    )


def artifact_root(artifacts: Sequence[Artifact]) -> bytes:
    """The root (32 bytes) of the tree over one or more artifacts; a node without a partner moves up as it is."""
    return _levels(artifacts)[-1][0]


def artifact_proof(artifacts: Sequence[Artifact], artifact: Artifact) -> list[bytes]:
    """The nodes (32 bytes each) that lead from the artifact to the root. ValueError if it is not there."""
    place = artifacts.index(artifact)
    proof = []
    for level in _levels(artifacts)[:-1]:
        if place ^ 1 < len(level):
            proof.append(level[place ^ 1])
        place //= 2
    return proof


def _levels(artifacts: Sequence[Artifact]) -> list[list[bytes]]:
    levels = [[artifact.leaf for artifact in artifacts]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([_joined(below[i : i + 2]) for i in range(0, len(below), 2)])
    return levels


def _joined(nodes: Iterable[bytes]) -> bytes:
    first, *second = sorted(nodes)
    return keccak(first + second[0]) if second else first
