// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../../src/IFedChestLedger.sol";
import {vm} from "../Vm.sol";
import {Proofs} from "./Proofs.sol";

/// @title For all senders and votes on a proposal on which institution 0 has voted.
contract ProposedRoundProofs is Proofs {
    function setUp() public override {
        super.setUp();
        propose();
        attest(0);
    }

    /// @dev Two agreeing votes of four, whatever they say, are no quorum.
    function check_noSecondVoteFinalizes(address sender, IFedChestLedger.Attestation calldata result) public {
        attempt(sender, abi.encodeCall(ledger.attest, (1, result)));
        assert(ledger.round(1).phase != IFedChestLedger.Phase.Finalized);
        assert(ledger.globalModel() == "model");
    }

    function check_nobodyVotesTwice(IFedChestLedger.Attestation calldata result) public {
        assert(!attempt(wallet(0), abi.encodeCall(ledger.attest, (1, result))));
    }

    function check_onlyMembersVote(address sender, IFedChestLedger.Attestation calldata result) public {
        if (!attempt(sender, abi.encodeCall(ledger.attest, (1, result)))) return;
        assert(sender == wallet(1) || sender == wallet(2) || sender == wallet(3));
        assert(result.proposal == ledger.round(1).proposal);
    }

    /// @dev The third vote finalizes only if all owe nothing any more: here one still owes its share.
    function check_missingShareHoldsTheRoundUp(IFedChestLedger.Attestation calldata result) public {
        attest(1);
        attempt(wallet(2), abi.encodeCall(ledger.attest, (1, result)));
        assert(ledger.round(1).phase == IFedChestLedger.Phase.Proposed);
    }

    /// @dev With all but the last share in, the last voter finalizes the round only with the one that is missing.
    function check_lastShareMustBeTheMissingOne(IFedChestLedger.Attestation calldata result) public {
        attest(1);
        attest(2);
        attempt(wallet(3), abi.encodeCall(ledger.attest, (1, result)));
        if (ledger.round(1).phase == IFedChestLedger.Phase.Finalized) assert(result.share == share(3));
    }

    function check_oneVoucherAnswersForNobody(address sender, uint16 id, bytes32 proposal, bytes24 answer) public {
        uint16 unanswered = ledger.round(1).unanswered;
        attempt(sender, abi.encodeCall(ledger.answerFor, (1, id, proposal, answer)));
        assert(ledger.round(1).unanswered == unanswered);
    }
}
