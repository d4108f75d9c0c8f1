// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../../src/IFedChestLedger.sol";
import {vm} from "../Vm.sol";
import {Proofs} from "./Proofs.sol";

/// @title For all senders, submissions and times while a round is open, in which institution 0 has submitted.
contract OpenRoundProofs is Proofs {
    function setUp() public override {
        super.setUp();
        submit(0);
    }

    /// @dev Whatever is taken came from the institution's own wallet, in time, on the round's model, within its budget.
    function check_onlySoundSubmissionsAreTaken(
        address sender,
        IFedChestLedger.Submission calldata made,
        uint64 time
    ) public {
        vm.assume(time >= START);
        vm.warp(time);
        if (!attempt(sender, abi.encodeCall(ledger.submitUpdate, (made)))) return;
        assert(made.round == 1 && made.institution != 0 && made.institution < 4);
        assert(sender == wallet(made.institution));
        assert(time <= START + 600);
        assert(made.baseModel == "model");
        assert(made.weightClass == made.institution + 1);
        assert(made.epsilon <= BUDGET);
        assert(ledger.institution(made.institution).epsilonSpent == made.epsilon);
        assert(ledger.commitment(1, made.institution) != 0);
    }

    function check_nobodySubmitsTwice(address sender, IFedChestLedger.Submission calldata made) public {
        bytes32 before = ledger.commitment(1, 0);
        vm.assume(made.round == 1 && made.institution == 0);
        assert(!attempt(sender, abi.encodeCall(ledger.submitUpdate, (made))));
        assert(ledger.commitment(1, 0) == before);
    }

    /// @dev In the next round; a spend counts whatever became of the last one.
    function check_spendNeverDecreases(address sender, IFedChestLedger.Submission calldata made) public {
        IFedChestLedger.Refusal[] memory none;
        ledger.abandonRound(1, none);
        ledger.openRound(CONFIG);
        attempt(sender, abi.encodeCall(ledger.submitUpdate, (made)));
        uint64 spent = ledger.institution(0).epsilonSpent;
        assert(spent >= 10 && spent <= BUDGET);
    }

    function check_roundDoesNotExpireInTime(address sender, uint64 time) public {
        vm.assume(time >= START && time <= START + 600);
        vm.warp(time);
        assert(!attempt(sender, abi.encodeCall(ledger.expireRound, (1))));
    }
}
