// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";

/// @title EIP-712 as an institution's software does it, written out again and not taken from the contract's sources.
library Signing {
    function digest(IFedChestLedger.Submission memory made, address ledger) internal view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", domain(block.chainid, ledger), hash(made)));
    }

    function domain(uint256 chain, address ledger) internal pure returns (bytes32) {
        bytes32 kind =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        return keccak256(abi.encode(kind, keccak256("FedChest"), keccak256("1"), chain, ledger));
    }

    function hash(IFedChestLedger.Submission memory made) internal pure returns (bytes32) {
        bytes32 kind = keccak256(
            "Submission(uint256 round,uint16 institution,bytes32 baseModel,bytes32 sealedHash,bytes32 plaintextHash,"
            "bytes32 manifestHash,uint16 weightClass,uint64 epsilon)"
        );
        return keccak256(abi.encode(kind, made));
    }
}
