// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FedChestLedger} from "../../src/FedChestLedger.sol";
import {Fingerprint} from "../../src/Fingerprint.sol";
import {IFedChestLedger} from "../../src/IFedChestLedger.sol";
import {vm} from "../Vm.sol";

/// @title A study of four institutions, of weight classes 1 to 4, that the proofs start from.
/// @notice What a `check_` asserts, halmos proves for all its arguments, or it shows arguments for which it fails.
abstract contract Proofs {
    bytes32 internal constant CONFIG = "config";
    uint64 internal constant BUDGET = 1000;
    uint64 internal constant START = 1_000_000;

    FedChestLedger internal ledger;

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(100);
        IFedChestLedger.Rules memory rules;
        rules.study = CONFIG;
        rules.founders = 4;
        rules.submissionSeconds = 600;
        rules.attestationSeconds = 300;
        rules.minimumAccepted = 2;
        rules.epsilonBudget = BUDGET;
        ledger = new FedChestLedger(rules);
        for (uint16 id = 0; id < 4; ++id) ledger.registerFounder(wallet(id), id + 1, BUDGET);
        bytes memory action = abi.encodeCall(ledger.approveInitialModel, ("model", "provenance", ledger.roster()));
        for (uint16 id = 0; id < 3; ++id) act(id, abi.encodeCall(ledger.support, (action)));
        ledger.openRound(CONFIG);
    }

    function wallet(uint16 id) internal pure returns (address) {
        return address(uint160(0x1000) + id);
    }

    function act(uint16 id, bytes memory action) internal {
        assert(attempt(wallet(id), action));
    }

    function attempt(address sender, bytes memory action) internal returns (bool done) {
        vm.prank(sender);
        (done,) = address(ledger).call(action);
    }

    function submit(uint16 id) internal {
        IFedChestLedger.Submission memory made =
            IFedChestLedger.Submission(1, id, "model", "sealed", "plaintext", "manifest", id + 1, 10);
        act(id, abi.encodeCall(ledger.submitUpdate, (made)));
    }

    function propose() internal {
        for (uint16 id = 0; id < 4; ++id) submit(id);
        uint16[] memory accepted = new uint16[](4);
        bytes24 total;
        for (uint16 id = 0; id < 4; ++id) {
            accepted[id] = id;
            total = Fingerprint.add(total, share(id), id + 1);
        }
        IFedChestLedger.Refusal[] memory none;
        uint32[] memory noScores;
        ledger.proposeAggregate(
            1, IFedChestLedger.Proposal("new model", "record", "sum", total, "artifacts"), accepted, noScores, none
        );
    }

    function attest(uint16 id) internal {
        IFedChestLedger.Round memory round = ledger.round(1);
        IFedChestLedger.Attestation memory result =
            IFedChestLedger.Attestation(round.proposal, round.newModel, round.fingerprint, share(id), 0x7F);
        act(id, abi.encodeCall(ledger.attest, (1, result)));
    }

    function share(uint16 id) internal pure returns (bytes24) {
        return bytes24(uint192(id) + 1);
    }

    function hashOfRound() internal view returns (bytes32) {
        return keccak256(abi.encode(ledger.round(1), ledger.accepted(1), ledger.scores(1)));
    }
}
