// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fingerprint} from "../src/Fingerprint.sol";
import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Votes on a proposal, and what becomes of the round.
contract AttestationsTest is Study {
    function setUp() public override {
        super.setUp();
        reachProposed();
    }

    function test_attestationIsRecorded() public {
        IFedChestLedger.Attestation memory result = vote(2);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.Attested(1, 2, NEW_MODEL, result.fingerprint, share(2), CHECKS, true);
        cast(2, result);
        IFedChestLedger.Round memory round = ledger.round(1);
        require(round.agreeing == 1 && round.disagreeing == 0 && round.unanswered == 3, "counted");
        require(round.gathered == Fingerprint.add(0, share(2), weight(2)), "its share");
        require(ledger.hasAttested(1, 2) && !ledger.hasAttested(1, 1) && !ledger.owes(1, 2), "on record");
    }

    function test_quorumIsNotEnoughWhileAShareIsMissing() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectPhase(1, IFedChestLedger.Phase.Proposed);
        require(ledger.globalModel() == FIRST_MODEL, "not yet");
        attest(3);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
        require(ledger.globalModel() == NEW_MODEL && ledger.head() == 1, "the global model");
    }

    function test_allSharesAreNotEnoughBelowTheQuorum() public {
        vm.warp(block.timestamp + ATTESTATION_SECONDS + 1);
        ledger.expireRound(1);
        open();
        submit(0);
        submit(1);
        propose(first(2));
        attest(0);
        attest(1);
        expectPhase(2, IFedChestLedger.Phase.Proposed);
        attest(3);
        expectPhase(2, IFedChestLedger.Phase.Finalized);
    }

    function test_oneThatDisagreesDoesNotStopTheOthers() public {
        disagree(3);
        require(ledger.round(1).disagreeing == 1, "counted against");
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
    }

    function test_roundIsVoidOnceTheQuorumIsOutOfReach() public {
        disagree(0);
        expectPhase(1, IFedChestLedger.Phase.Proposed);
        attest(2);
        uint16 id = 1;
        IFedChestLedger.Attestation memory result = vote(id);
        result.newModel = "another";
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.Attested(1, id, "another", result.fingerprint, result.share, CHECKS, false);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundVoided(1, IFedChestLedger.VoidCause.Rejected);
        cast(id, result);
        expectPhase(1, IFedChestLedger.Phase.Void);
        require(ledger.globalModel() == FIRST_MODEL && ledger.head() == 0, "no new model");
    }

    /// @dev A member agrees only if it computed the same model and sum, and every check passed.
    function test_oneDifferenceIsDisagreement() public {
        IFedChestLedger.Attestation memory result = vote(0);
        result.fingerprint = share(1);
        cast(0, result);
        result = vote(1);
        result.checks = CHECKS - 1;
        cast(1, result);
        require(ledger.round(1).disagreeing == 2 && ledger.round(1).agreeing == 0, "two against");
        expectPhase(1, IFedChestLedger.Phase.Void);
    }

    function testFuzz_everyCheckIsRequired(uint8 checks) public {
        IFedChestLedger.Attestation memory result = vote(0);
        result.checks = checks;
        cast(0, result);
        require(ledger.round(1).agreeing == (checks == CHECKS ? 1 : 0), "agrees");
    }

    function test_sharesThatDoNotAddUpVoidTheRound() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        IFedChestLedger.Attestation memory result = vote(3);
        result.share = share(2);
        cast(3, result);
        expectPhase(1, IFedChestLedger.Phase.Void);
        require(ledger.globalModel() == FIRST_MODEL, "no new model");
    }

    function testFuzz_anyOtherShareVoidsTheRound(uint64 one, uint64 two, uint64 three) public {
        uint64 modulus = (uint64(1) << 61) - 1;
        IFedChestLedger.Attestation memory result = vote(3);
        result.share = bytes24(bytes.concat(bytes8(one % modulus), bytes8(two % modulus), bytes8(three % modulus)));
        vm.assume(result.share != share(3));
        for (uint16 id = 0; id < 3; ++id) attest(id);
        cast(3, result);
        expectPhase(1, IFedChestLedger.Phase.Void);
    }

    /// @dev Where both happen at once the round is rejected, which names no institution a liar.
    function test_rejectionComesBeforeDispute() public {
        disagree(0);
        attest(1);
        attest(2);
        IFedChestLedger.Attestation memory result = vote(3);
        result.newModel = "another";
        result.share = share(2);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.Attested(1, 3, "another", result.fingerprint, result.share, CHECKS, false);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundVoided(1, IFedChestLedger.VoidCause.Rejected);
        cast(3, result);
    }

    function test_disputeIsNamed() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        IFedChestLedger.Attestation memory result = vote(3);
        result.share = share(2);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.Attested(1, 3, NEW_MODEL, result.fingerprint, result.share, CHECKS, true);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundVoided(1, IFedChestLedger.VoidCause.Disputed);
        cast(3, result);
    }

    /// @dev What a member that is not accepted says about its share is no part of the sum.
    function test_shareOfOneThatIsNotAcceptedDoesNotCount() public {
        vm.warp(block.timestamp + ATTESTATION_SECONDS + 1);
        ledger.expireRound(1);
        open();
        submitAll();
        propose(first(3));
        IFedChestLedger.Attestation memory result = vote(3);
        result.share = bytes24(type(uint192).max);
        cast(3, result);
        require(ledger.round(2).gathered == 0 && ledger.round(2).unanswered == 3, "nothing gathered");
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectPhase(2, IFedChestLedger.Phase.Finalized);
    }

    function test_shareOutOfFormIsRefused() public {
        IFedChestLedger.Attestation memory result = vote(0);
        result.share = bytes24(type(uint192).max);
        vm.expectRevert(abi.encodeWithSelector(Fingerprint.InvalidFingerprint.selector, result.share));
        vm.prank(wallet(0));
        ledger.attest(1, result);
    }

    function test_nobodyAttestsTwice() public {
        attest(0);
        IFedChestLedger.Attestation memory again = vote(0);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.AlreadyAttested.selector, 1, 0));
        vm.prank(wallet(0));
        ledger.attest(1, again);
    }

    function test_voteIsOnThisProposal() public {
        IFedChestLedger.Attestation memory result = vote(0);
        bytes32 expected = result.proposal;
        result.proposal = "another";
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongProposal.selector, expected));
        vm.prank(wallet(0));
        ledger.attest(1, result);
    }

    function test_lastSecondCountsAndNoLater() public {
        uint64 deadline = ledger.round(1).deadline;
        IFedChestLedger.Attestation memory late = vote(1);
        vm.warp(deadline);
        attest(0);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.DeadlinePassed.selector, deadline));
        vm.prank(wallet(1));
        ledger.attest(1, late);
    }

    function test_whoIsNoMemberHasNoVote() public {
        decide(abi.encodeCall(ledger.registerInstitution, (wallet(4), weight(4), BUDGET)));
        IFedChestLedger.Attestation memory result = vote(4);
        expectNotMember(1, 4);
        vm.prank(wallet(4));
        ledger.attest(1, result);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        vm.prank(OUTSIDER);
        ledger.attest(1, result);
    }

    function test_memberThatIsSuspendedMeanwhileHasNoVote() public {
        suspend(3);
        IFedChestLedger.Attestation memory result = vote(3);
        vm.expectRevert(
            abi.encodeWithSelector(IInstitutions.NotActive.selector, 3, IInstitutions.Status.Suspended)
        );
        vm.prank(wallet(3));
        ledger.attest(1, result);
    }

    // ----------------------------------------------------------------------------------------------- after the outcome

    function test_lateVoteIsOnRecordAndChangesNothing() public {
        disagree(0);
        disagree(1);
        bytes32 before = keccak256(abi.encode(ledger.round(1)));
        vm.warp(block.timestamp + 1 days);
        attest(2);
        require(ledger.hasAttested(1, 2), "on record");
        require(keccak256(abi.encode(ledger.round(1))) == before, "nothing changes");
        open();
        IFedChestLedger.Attestation memory result = vote(3);
        result.proposal = ledger.round(1).proposal;
        expectWrongPhase(1, IFedChestLedger.Phase.Void);
        vm.prank(wallet(3));
        ledger.attest(1, result);
    }

    function test_roundWithoutAProposalTakesNoVote() public {
        IFedChestLedger.Attestation memory result;
        for (uint16 id = 0; id < 4; ++id) attest(id);
        open();
        expectWrongPhase(2, IFedChestLedger.Phase.Open);
        vm.prank(wallet(0));
        ledger.attest(2, result);
        ledger.abandonRound(2, noRefusals());
        expectWrongPhase(2, IFedChestLedger.Phase.Void);
        vm.prank(wallet(0));
        ledger.attest(2, result);
    }

    // --------------------------------------------------------------------------------------------------------- credits

    function test_creditsAreSplitByWeightClass() public {
        for (uint16 id = 0; id < 3; ++id) attest(id);
        IFedChestLedger.Attestation memory last = vote(3);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.Attested(1, 3, NEW_MODEL, last.fingerprint, share(3), CHECKS, true);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.RoundFinalized(1, NEW_MODEL);
        for (uint16 id = 0; id < 4; ++id) {
            vm.expectEmit(address(ledger));
            emit IFedChestLedger.Credited(1, id, 100_000 * (id + 1));
        }
        cast(3, last);
        for (uint16 id = 0; id < 4; ++id) require(ledger.institution(id).credits == 100_000 * (id + 1), "credits");
        finishRound();
        require(ledger.institution(3).credits == 800_000, "they add up over rounds");
    }

    /// @dev Whatever the weights, a round gives out its credits but for less than one for each accepted.
    function testFuzz_creditsAreConserved(uint16[4] calldata weights) public {
        IFedChestLedger.Rules memory rules = standard();
        ledger = create(rules);
        for (uint16 id = 0; id < 4; ++id) {
            ledger.registerFounder(wallet(id), weights[id] == 0 ? 1 : weights[id], BUDGET);
        }
        decide(abi.encodeCall(ledger.approveInitialModel, (FIRST_MODEL, PROVENANCE, ledger.roster())));
        open();
        bytes24 total;
        for (uint16 id = 0; id < 4; ++id) {
            IFedChestLedger.Submission memory made = submission(id);
            made.weightClass = ledger.institution(id).weightClass;
            send(id, made);
            total = Fingerprint.add(total, share(id), made.weightClass);
        }
        IFedChestLedger.Proposal memory proposed = proposal(first(4));
        proposed.fingerprint = total;
        propose(proposed, first(4), noRefusals());
        for (uint16 id = 0; id < 4; ++id) attest(id);
        uint256 credits;
        for (uint16 id = 0; id < 4; ++id) {
            IInstitutions.Institution memory one = ledger.institution(id);
            require(one.credits == uint256(CREDITS) * one.weightClass / ledger.totalWeight(), "its part");
            credits += one.credits;
        }
        require(credits <= CREDITS && credits + 4 > CREDITS, "conserved");
    }
}
