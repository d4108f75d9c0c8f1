// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {Study} from "./Study.sol";

/// @title The Merkle root of a round's artifacts, over a tree of three leaves built here by hand.
contract ArtifactsTest is Study {
    bytes32 private sealedLeaf;
    bytes32 private modelLeaf;
    bytes32 private recordLeaf;

    function setUp() public override {
        super.setUp();
        open();
        submitAll();
        sealedLeaf = leaf(IFedChestLedger.ArtifactKind.SealedUpdate, 2, "sealed");
        modelLeaf = leaf(IFedChestLedger.ArtifactKind.Model, 0, NEW_MODEL);
        recordLeaf = leaf(IFedChestLedger.ArtifactKind.Record, 0, "record");
        IFedChestLedger.Proposal memory made = proposal(first(4));
        made.artifacts = pair(pair(sealedLeaf, modelLeaf), recordLeaf);
        propose(made, first(4), noRefusals());
    }

    function leaf(IFedChestLedger.ArtifactKind kind, uint16 id, bytes32 hash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(keccak256(abi.encode(kind, id, hash))));
    }

    function pair(bytes32 one, bytes32 two) private pure returns (bytes32) {
        return keccak256(one < two ? abi.encodePacked(one, two) : abi.encodePacked(two, one));
    }

    function proof() private view returns (bytes32[] memory made) {
        made = new bytes32[](2);
        (made[0], made[1]) = (modelLeaf, recordLeaf);
    }

    function test_artifactIsProven() public view {
        IFedChestLedger.ArtifactKind kind = IFedChestLedger.ArtifactKind.SealedUpdate;
        require(ledger.isArtifact(1, kind, 2, "sealed", proof()), "in the tree");
        bytes32[] memory short = new bytes32[](1);
        short[0] = pair(sealedLeaf, modelLeaf);
        require(ledger.isArtifact(1, IFedChestLedger.ArtifactKind.Record, 0, "record", short), "in the tree");
    }

    function test_nothingElseIs() public view {
        IFedChestLedger.ArtifactKind kind = IFedChestLedger.ArtifactKind.SealedUpdate;
        require(!ledger.isArtifact(1, kind, 2, "other", proof()), "another hash");
        require(!ledger.isArtifact(1, kind, 1, "sealed", proof()), "another institution's");
        require(!ledger.isArtifact(1, IFedChestLedger.ArtifactKind.Manifest, 2, "sealed", proof()), "another kind");
        require(!ledger.isArtifact(2, kind, 2, "sealed", proof()), "another round's");
        require(!ledger.isArtifact(1, kind, 2, "sealed", new bytes32[](0)), "no proof");
    }

    function testFuzz_noOtherHashIsProven(bytes32 hash, bytes32[] calldata path) public view {
        require(!ledger.isArtifact(1, IFedChestLedger.ArtifactKind.Sum, 0, hash, path), "in the tree");
    }
}
