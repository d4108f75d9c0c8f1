// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {Fingerprint} from "../src/Fingerprint.sol";
import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Members that answer for an institution that stays silent.
contract AnswersTest is Study {
    bytes32 private proposed;

    function setUp() public override {
        super.setUp();
        reachProposed();
        proposed = ledger.round(1).proposal;
    }

    function vouch(uint16 voucher, uint16 id, bytes24 answer) private {
        vm.prank(wallet(voucher));
        ledger.answerFor(1, id, proposed, answer);
    }

    function vouch(uint16 voucher) private {
        vouch(voucher, 3, share(3));
    }

    function test_quorumAnswersForTheSilentOne() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        vouch(0);
        vouch(1);
        expectPhase(1, IFedChestLedger.Phase.Proposed);
        require(ledger.owes(1, 3) && ledger.round(1).unanswered == 1, "two are no quorum");
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.AnsweredFor(1, 3, 2, share(3));
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundFinalized(1, NEW_MODEL);
        vouch(2);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
        require(!ledger.owes(1, 3) && !ledger.hasAttested(1, 3), "answered, not attested");
    }

    function test_answerAloneFinalizesNothing() public {
        for (uint16 id = 0; id < 3; ++id) vouch(id);
        require(!ledger.owes(1, 3) && ledger.round(1).unanswered == 3, "answered");
        require(ledger.round(1).gathered == Fingerprint.add(0, share(3), weight(3)), "gathered");
        require(ledger.round(1).agreeing == 0, "no vote");
        expectPhase(1, IFedChestLedger.Phase.Proposed);
    }

    function test_itMustBeTheSameShare() public {
        vouch(0);
        vouch(1, 3, share(2));
        vouch(2);
        require(ledger.owes(1, 3), "two and one");
        vouch(3);
        require(!ledger.owes(1, 3), "three");
    }

    function test_wrongAnswerOfAQuorumVoidsTheRound() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        for (uint16 id = 0; id < 3; ++id) vouch(id, 3, share(2));
        expectPhase(1, IFedChestLedger.Phase.Void);
    }

    function test_ownAnswerComesFirst() public {
        vouch(0);
        vouch(1);
        attest(3);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.NotOwed.selector, 1, 3));
        vouch(2);
    }

    function test_answeredOneStillVotesAndItsShareCountsOnce() public {
        for (uint16 id = 0; id < 3; ++id) vouch(id);
        bytes24 gathered = ledger.round(1).gathered;
        attest(3);
        require(ledger.round(1).gathered == gathered && ledger.round(1).agreeing == 1, "a vote only");
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
    }

    function test_nobodyVouchesTwice() public {
        vouch(0);
        bytes memory twice = abi.encodeWithSelector(IFedChestLedger.AlreadyVouched.selector, 1, 3, 0);
        vm.expectRevert(twice);
        vouch(0);
        vm.expectRevert(twice);
        vouch(0, 3, share(2));
        vouch(0, 2, share(2));
    }

    function test_onlyActiveMembersVouch() public {
        decide(abi.encodeCall(ledger.registerInstitution, (wallet(4), 1, BUDGET)));
        expectNotMember(1, 4);
        vouch(4);
        suspend(2);
        vm.expectRevert(
            abi.encodeWithSelector(IInstitutions.NotActive.selector, 2, IInstitutions.Status.Suspended)
        );
        vouch(2);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        vm.prank(OUTSIDER);
        ledger.answerFor(1, 3, proposed, share(3));
    }

    function test_nothingIsAnsweredForOneThatOwesNothing() public {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.NotOwed.selector, 1, 9));
        vouch(0, 9, share(9));
    }

    function test_answerIsToThisProposalInTimeAndPhase() public {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongProposal.selector, proposed));
        vm.prank(wallet(0));
        ledger.answerFor(1, 3, "another", share(3));
        expectWrongPhase(2, IFedChestLedger.Phase.None);
        vm.prank(wallet(0));
        ledger.answerFor(2, 3, proposed, share(3));
        uint64 deadline = ledger.round(1).deadline;
        vm.warp(deadline);
        vouch(0);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.DeadlinePassed.selector, deadline));
        vouch(1);
        ledger.expireRound(1);
        expectWrongPhase(1, IFedChestLedger.Phase.Void);
        vouch(1);
    }

    function test_shareOutOfFormIsNeverTaken() public {
        bytes24 bad = bytes24(type(uint192).max);
        vouch(0, 3, bad);
        vouch(1, 3, bad);
        vm.expectRevert(abi.encodeWithSelector(Fingerprint.InvalidFingerprint.selector, bad));
        vouch(2, 3, bad);
    }

    function test_pauseStopsAnswers() public {
        decide(abi.encodeCall(ledger.pause, ()));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        vouch(0);
    }
}
