// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {IFedChestLedger} from "../../src/IFedChestLedger.sol";
import {IInstitutions} from "../../src/IInstitutions.sol";
import {vm} from "../Vm.sol";
import {Proofs} from "./Proofs.sol";

/// @title For all calls of fixed size by anyone and at any time, after a round was finalized.
contract FinalizedRoundProofs is Proofs {
    function setUp() public override {
        super.setUp();
        propose();
        for (uint16 id = 0; id < 4; ++id) attest(id);
        assert(ledger.round(1).phase == IFedChestLedger.Phase.Finalized);
    }

    /// @dev The actions about rounds that anyone may try. Calls with lists or bytes are left to the fuzz tests: their
    /// encodings are too many to go through.
    function check_roundStays(address sender, uint64 time, bytes4 selector, bytes32[8] calldata words) public {
        vm.assume(
            selector == IFedChestLedger.submitUpdate.selector || selector == IFedChestLedger.attest.selector
                || selector == IFedChestLedger.answerFor.selector || selector == IFedChestLedger.expireRound.selector
                || selector == IFedChestLedger.openRound.selector || selector == IInstitutions.rotateOwnKey.selector
                || selector == IInstitutions.registerFounder.selector
        );
        staysAfter(sender, time, abi.encodePacked(selector, words));
    }

    /// @dev All that is by decision only.
    function check_nobodyDecidesAlone(address sender, bytes4 selector, bytes32[4] calldata words) public {
        vm.assume(
            selector == IFedChestLedger.approveInitialModel.selector || selector == IFedChestLedger.restartFrom.selector
                || selector == IFedChestLedger.setAllowed.selector || selector == IFedChestLedger.moveStudy.selector
                || selector == IInstitutions.registerInstitution.selector
                || selector == IInstitutions.suspendInstitution.selector
                || selector == IInstitutions.reinstateInstitution.selector
                || selector == IInstitutions.revokeInstitution.selector || selector == IInstitutions.rotateKey.selector
                || selector == IInstitutions.pause.selector || selector == IInstitutions.unpause.selector
                || selector == IAccessControl.grantRole.selector || selector == IAccessControl.revokeRole.selector
        );
        vm.assume(sender != address(ledger));
        assert(!attempt(sender, abi.encodePacked(selector, words)));
    }

    /// @dev An institution may only replace its own key by itself; every other call leaves everything as it is.
    function staysAfter(address sender, uint64 time, bytes memory action) private {
        bytes32 before = hashOfRound();
        vm.assume(time >= START);
        vm.warp(time);
        attempt(sender, action);
        assert(hashOfRound() == before);
        assert(ledger.globalModel() == "new model" && ledger.head() == 1 && ledger.activeCount() == 4);
        for (uint16 id = 0; id < 4; ++id) assert(ledger.institution(id).credits == 100_000 * (uint64(id) + 1));
    }
}
