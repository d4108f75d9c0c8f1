// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "./IFedChestLedger.sol";

/// @title Submissions as EIP-712 typed data: the digest that is stored, and that a relayed one is signed by.
library Submissions {
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME = keccak256("FedChest");
    bytes32 private constant VERSION = keccak256("1");
    bytes32 private constant SUBMISSION_TYPE = keccak256(
        "Submission(uint256 round,uint16 institution,bytes32 baseModel,bytes32 sealedHash,bytes32 plaintextHash,"
        "bytes32 manifestHash,uint16 weightClass,uint64 epsilon)"
    );

    /// @notice The commitment to a submission, bound to this chain and contract.
    /// @dev The domain is hashed each time: an immutable would make the deployed code differ from the published one.
    function digest(IFedChestLedger.Submission calldata submission) internal view returns (bytes32) {
        bytes32 domain = keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(abi.encode(SUBMISSION_TYPE, submission))));
    }
}
