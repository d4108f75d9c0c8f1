// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../../src/IFedChestLedger.sol";
import {IInstitutions} from "../../src/IInstitutions.sol";
import {vm} from "../Vm.sol";
import {Proofs} from "./Proofs.sol";

/// @title For all calls without lists, by anyone and at any time, after a round was finalized.
contract FinalizedRoundProofs is Proofs {
    function setUp() public override {
        super.setUp();
        propose();
        for (uint16 id = 0; id < 4; ++id) attest(id);
        assert(ledger.round(1).phase == IFedChestLedger.Phase.Finalized);
    }

    /// @dev Calls with lists or bytes, given or returned, are left to the fuzz tests: their encodings are too many to go through.
    function anything(bytes4 selector, bytes32[8] calldata words) private pure returns (bytes memory) {
        vm.assume(selector != IInstitutions.support.selector && selector != IInstitutions.withdraw.selector);
        vm.assume(selector != IInstitutions.decisionOf.selector);
        vm.assume(selector != IFedChestLedger.submitUpdateFor.selector);
        vm.assume(selector != IFedChestLedger.reportEquivocation.selector);
        vm.assume(selector != IFedChestLedger.proposeAggregate.selector);
        vm.assume(selector != IFedChestLedger.abandonRound.selector);
        vm.assume(selector != IFedChestLedger.isArtifact.selector);
        vm.assume(selector != IFedChestLedger.accepted.selector && selector != IFedChestLedger.scores.selector);
        vm.assume(selector != IInstitutions.supporters.selector);
        return abi.encodePacked(selector, words);
    }

    /// @dev The round stays as it is, and no call by one alone changes the global model, stops the study, changes who
    /// takes part or gives credits. The ledger itself calls only what was decided.
    function check_nobodyChangesAnythingAlone(address sender, uint64 time, bytes4 selector, bytes32[8] calldata words)
        public
    {
        bytes32 before = hashOfRound();
        vm.assume(sender != address(ledger) && time >= START);
        vm.warp(time);
        attempt(sender, anything(selector, words));
        assert(hashOfRound() == before);
        assert(ledger.globalModel() == "new model" && ledger.head() == 1);
        assert(!ledger.paused() && ledger.successor() == address(0));
        assert(ledger.activeCount() == 4 && ledger.institutionCount() == 4);
        assert(ledger.hasRole(ledger.DEFAULT_ADMIN_ROLE(), address(ledger)));
        assert(!ledger.hasRole(ledger.DEFAULT_ADMIN_ROLE(), sender));
        uint256 credits;
        for (uint16 id = 0; id < 4; ++id) credits += ledger.institution(id).credits;
        assert(credits == ledger.ROUND_CREDITS());
    }
}
