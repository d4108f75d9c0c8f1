// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title A round from its opening to its end: phases, deadlines, members, cohorts.
contract RoundsTest is Study {
    function test_roundOpens() public {
        vm.roll(77);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundOpened(
            1, FIRST_MODEL, 0, CONFIG, first(4), 3, uint64(block.timestamp) + SUBMISSION_SECONDS
        );
        require(open() == 1, "the first");
        IFedChestLedger.Round memory round = ledger.round(1);
        require(round.phase == IFedChestLedger.Phase.Open && round.openedBlock == 77, "open");
        require(round.members == 4 && round.quorum == 3, "members");
        require(round.deadline == block.timestamp + SUBMISSION_SECONDS, "deadline");
        require(round.baseModel == FIRST_MODEL && round.config == CONFIG && round.parent == 0, "from the first model");
        for (uint16 id = 0; id < 4; ++id) require(ledger.isMember(1, id), "member");
        require(!ledger.isMember(1, 4), "no other");
    }

    function test_onlyTheCoordinatorOpensProposesAndAbandons() public {
        bytes32 role = ledger.COORDINATOR();
        expectUnauthorized(wallet(0), role);
        vm.prank(wallet(0));
        ledger.openRound(CONFIG);
        open();
        submitAll();
        expectUnauthorized(wallet(0), role);
        vm.prank(wallet(0));
        ledger.abandonRound(1, noRefusals());
        expectUnauthorized(OUTSIDER, role);
        vm.prank(OUTSIDER);
        propose(1, proposal(first(4)), first(4), noRefusals());
    }

    function test_oneRoundAtATime() public {
        bytes memory live = abi.encodeWithSelector(IFedChestLedger.RoundLive.selector, 1);
        open();
        vm.expectRevert(live);
        open();
        submit(0);
        vm.expectRevert(live);
        open();
        submit(1);
        propose(first(2));
        vm.expectRevert(live);
        open();
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
        require(open() == 2, "the next");
    }

    function test_configurationMustBeAllowed() public {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.NotAllowed.selector, bytes32("other")));
        ledger.openRound("other");
        decide(abi.encodeCall(ledger.setAllowed, ("other", true)));
        ledger.openRound("other");
        require(ledger.round(1).config == "other", "allowed");
    }

    function test_tooFewInstitutionsOpenNoRound() public {
        suspend(0);
        suspend(1);
        open();
        ledger.abandonRound(1, noRefusals());
        suspend(2);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.TooFewInstitutions.selector, 1, 2));
        open();
    }

    function test_roundIsAbandoned() public {
        open();
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.UpdateRefused(1, 2, 9);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundVoided(1, IFedChestLedger.VoidCause.Abandoned);
        ledger.abandonRound(1, refusal(2, 9));
        expectPhase(1, IFedChestLedger.Phase.Void);
        open();
        submit(0);
        ledger.abandonRound(2, noRefusals());
        expectPhase(2, IFedChestLedger.Phase.Void);
    }

    function test_onlyAnOpenRoundIsAbandoned() public {
        expectWrongPhase(1, IFedChestLedger.Phase.None);
        ledger.abandonRound(1, noRefusals());
        reachProposed();
        expectWrongPhase(1, IFedChestLedger.Phase.Proposed);
        ledger.abandonRound(1, noRefusals());
        for (uint16 id = 0; id < 4; ++id) attest(id);
        expectWrongPhase(1, IFedChestLedger.Phase.Finalized);
        ledger.abandonRound(1, noRefusals());
    }

    function test_roundExpiresAfterItsLastSecondAndForAnyone() public {
        open();
        uint64 deadline = ledger.round(1).deadline;
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.DeadlineNotReached.selector, deadline));
        ledger.expireRound(1);
        vm.warp(deadline + 1);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundVoided(1, IFedChestLedger.VoidCause.Expired);
        vm.prank(OUTSIDER);
        ledger.expireRound(1);
        expectWrongPhase(1, IFedChestLedger.Phase.Void);
        ledger.expireRound(1);
        expectWrongPhase(2, IFedChestLedger.Phase.None);
        ledger.expireRound(2);
    }

    function test_submittedAndProposedRoundsExpireToo() public {
        open();
        submit(0);
        vm.warp(ledger.round(1).deadline + 1);
        ledger.expireRound(1);
        expectPhase(1, IFedChestLedger.Phase.Void);
        reachProposed();
        uint64 deadline = ledger.round(2).deadline;
        require(deadline == block.timestamp + ATTESTATION_SECONDS, "the proposal's");
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.DeadlineNotReached.selector, deadline));
        ledger.expireRound(2);
        vm.warp(deadline + 1);
        ledger.expireRound(2);
        expectPhase(2, IFedChestLedger.Phase.Void);
        require(ledger.globalModel() == FIRST_MODEL, "no new model");
    }

    function test_finalizedRoundDoesNotExpire() public {
        finishRound();
        vm.warp(block.timestamp + 1 days);
        expectWrongPhase(1, IFedChestLedger.Phase.Finalized);
        ledger.expireRound(1);
    }

    function test_voidRoundIsFollowedFromTheSameModel() public {
        finishRound();
        open();
        ledger.abandonRound(2, noRefusals());
        open();
        IFedChestLedger.Round memory round = ledger.round(3);
        require(round.baseModel == NEW_MODEL && round.parent == 1, "the first round's");
    }

    // ------------------------------------------------------------------------------------------------------ cohorts

    function foundCohorts() private {
        IFedChestLedger.Rules memory rules = standard();
        rules.cohortSize = 2;
        vm.roll(10);
        vm.setBlockhash(9, "first seed");
        found(rules);
    }

    function membersOf(uint256 number) private view returns (uint16 members) {
        uint16 count = ledger.institutionCount();
        for (uint16 id = 0; id < count; ++id) if (ledger.isMember(number, id)) members |= uint16(1) << id;
    }

    /// @dev Floyd's sampling of two of four, from a seed: the same as the contract's comment says, written out.
    function drawn(bytes32 seed) private pure returns (uint16) {
        uint256 one = uint256(keccak256(abi.encode(seed, uint16(0)))) % 3;
        uint256 two = uint256(keccak256(abi.encode(seed, uint16(1)))) % 4;
        if (two == one) two = 3;
        return uint16((1 << one) | (1 << two));
    }

    function test_cohortIsDrawnFromTheBlockBeforeTheLastModel() public {
        foundCohorts();
        vm.roll(20);
        vm.setBlockhash(19, "not this one");
        open();
        require(ledger.round(1).members == 2 && ledger.round(1).quorum == 2, "two");
        require(membersOf(1) == drawn("first seed"), "drawn");
        ledger.abandonRound(1, noRefusals());
        open();
        require(membersOf(2) == membersOf(1), "abandoning draws nobody else");
        vm.warp(block.timestamp + SUBMISSION_SECONDS + 1);
        vm.setBlockhash(19, "the expirer's choice");
        ledger.expireRound(2);
        vm.roll(30);
        open();
        bytes32 second = keccak256(abi.encode(bytes32("first seed"), uint256(2)));
        require(drawn("the expirer's choice") != drawn(second), "the two can be told apart");
        require(membersOf(3) == drawn(second), "drawn anew, whenever it expired");
        playCohort();
        ledger.openRound(CONFIG);
        require(membersOf(4) == drawn("third seed"), "and after a finalized round");
    }

    function playCohort() private {
        uint256 number = ledger.currentRound();
        uint16[] memory accepted = new uint16[](2);
        uint256 found_;
        for (uint16 id = 0; id < 4; ++id) {
            if (!ledger.isMember(number, id)) continue;
            submit(id);
            accepted[found_++] = id;
        }
        propose(accepted);
        vm.setBlockhash(29, "third seed");
        for (uint256 i = 0; i < 2; ++i) attest(accepted[i]);
        expectPhase(number, IFedChestLedger.Phase.Finalized);
    }

    function test_whoIsNotDrawnDoesNotTakePart() public {
        foundCohorts();
        open();
        for (uint16 id = 0; id < 4; ++id) {
            IFedChestLedger.Submission memory made = submission(id);
            if (!ledger.isMember(1, id)) expectNotMember(1, id);
            send(id, made);
        }
    }

    function test_tooFewForACohortOpenNoRound() public {
        foundCohorts();
        suspend(0);
        suspend(1);
        open();
        require(membersOf(1) == 12, "the two that are left");
        ledger.abandonRound(1, noRefusals());
        suspend(2);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.TooFewInstitutions.selector, 1, 2));
        open();
    }

    function testFuzz_cohortIsOfTheSizeAndAsDrawn(bytes32 seed) public {
        IFedChestLedger.Rules memory rules = standard();
        rules.cohortSize = 2;
        vm.roll(10);
        vm.setBlockhash(9, seed);
        found(rules);
        open();
        require(membersOf(1) == drawn(seed), "drawn");
    }

    function test_whoJoinsDuringARoundIsNoMember() public {
        open();
        decide(abi.encodeCall(ledger.registerInstitution, (wallet(4), weight(4), BUDGET)));
        IFedChestLedger.Submission memory made = submission(4);
        expectNotMember(1, 4);
        send(4, made);
    }

    function test_memberThatIsSuspendedMeanwhileIsOut() public {
        open();
        IFedChestLedger.Submission memory made = submission(3);
        suspend(3);
        vm.expectRevert(
            abi.encodeWithSelector(IInstitutions.NotActive.selector, 3, IInstitutions.Status.Suspended)
        );
        send(3, made);
        require(ledger.round(1).members == 4 && ledger.round(1).quorum == 3, "the round is as it was opened");
    }
}
