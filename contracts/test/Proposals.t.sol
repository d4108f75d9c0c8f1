// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fingerprint} from "../src/Fingerprint.sol";
import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Proposals: what an aggregate may rest on.
contract ProposalsTest is Study {
    function setUp() public override {
        super.setUp();
        open();
        submit(0);
        submit(2);
        submit(3);
    }

    function ids(uint16 one, uint16 two) private pure returns (uint16[] memory made) {
        made = new uint16[](2);
        (made[0], made[1]) = (one, two);
    }

    function refuse(uint16[] memory accepted, IFedChestLedger.Refusal[] memory refusals, bytes memory reason) private {
        vm.expectRevert(reason);
        propose(1, proposal(accepted), accepted, refusals);
    }

    function refuse(uint16[] memory accepted, bytes memory reason) private {
        refuse(accepted, noRefusals(), reason);
    }

    function twoRefusals(uint16 one, uint16 two) private pure returns (IFedChestLedger.Refusal[] memory made) {
        made = new IFedChestLedger.Refusal[](2);
        made[0] = IFedChestLedger.Refusal(one, 1);
        made[1] = IFedChestLedger.Refusal(two, 1);
    }

    function test_aggregateIsProposed() public {
        uint16[] memory accepted = ids(0, 3);
        IFedChestLedger.Proposal memory made = proposal(accepted);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.UpdateRefused(1, 1, 5);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.AggregateProposed(
            1,
            NEW_MODEL,
            made.record,
            made.sumHash,
            made.fingerprint,
            made.artifacts,
            accepted,
            noScores(),
            uint64(block.timestamp) + ATTESTATION_SECONDS
        );
        propose(1, made, accepted, refusal(1, 5));
        IFedChestLedger.Round memory round = ledger.round(1);
        require(round.phase == IFedChestLedger.Phase.Proposed && round.newModel == NEW_MODEL, "proposed");
        require(round.record == made.record && round.sumHash == made.sumHash, "hashes");
        require(round.artifacts == made.artifacts, "root");
        require(round.fingerprint == made.fingerprint && round.gathered == 0 && round.unanswered == 2, "sum");
        require(round.proposal == keccak256(abi.encode(made, accepted, noScores())), "all of it");
        require(round.deadline == block.timestamp + ATTESTATION_SECONDS, "deadline");
        require(keccak256(abi.encode(ledger.accepted(1))) == keccak256(abi.encode(accepted)), "accepted");
        require(ledger.owes(1, 0) && !ledger.owes(1, 2) && ledger.owes(1, 3), "who owes its share");
        require(ledger.globalModel() == FIRST_MODEL, "not yet the global model");
    }

    function test_lateProposalCountsUntilTheRoundExpires() public {
        vm.warp(block.timestamp + SUBMISSION_SECONDS + 1);
        propose(ids(0, 3));
        expectPhase(1, IFedChestLedger.Phase.Proposed);
    }

    function test_onlyASubmittedRoundIsProposed() public {
        propose(ids(0, 2));
        expectWrongPhase(1, IFedChestLedger.Phase.Proposed);
        propose(1, proposal(ids(0, 2)), ids(0, 2), noRefusals());
        vm.warp(block.timestamp + ATTESTATION_SECONDS + 1);
        ledger.expireRound(1);
        expectWrongPhase(1, IFedChestLedger.Phase.Void);
        propose(1, proposal(ids(0, 2)), ids(0, 2), noRefusals());
        open();
        expectWrongPhase(2, IFedChestLedger.Phase.Open);
        propose(2, proposal(ids(0, 2)), ids(0, 2), noRefusals());
        expectWrongPhase(3, IFedChestLedger.Phase.None);
        propose(3, proposal(ids(0, 2)), ids(0, 2), noRefusals());
    }

    function test_emptyModelIsRefused() public {
        IFedChestLedger.Proposal memory made = proposal(ids(0, 2));
        made.newModel = 0;
        vm.expectRevert(IFedChestLedger.EmptyModel.selector);
        propose(1, made, ids(0, 2), noRefusals());
    }

    function test_fingerprintOutOfFormIsRefused() public {
        for (uint256 lane = 0; lane < 3; ++lane) {
            IFedChestLedger.Proposal memory made = proposal(ids(0, 2));
            made.fingerprint = bytes24(uint192(((uint256(1) << 61) - 1) << (64 * lane)));
            vm.expectRevert(abi.encodeWithSelector(Fingerprint.InvalidFingerprint.selector, made.fingerprint));
            propose(1, made, ids(0, 2), noRefusals());
        }
    }

    function test_wrongAcceptedListIsRefused() public {
        refuse(new uint16[](1), abi.encodeWithSelector(IFedChestLedger.TooFewAccepted.selector, 1, 2));
        refuse(ids(0, 1), abi.encodeWithSelector(IFedChestLedger.NotSubmitted.selector, 1, 1));
        refuse(ids(0, 9), abi.encodeWithSelector(IFedChestLedger.NotSubmitted.selector, 1, 9));
        refuse(ids(0, 0), abi.encodeWithSelector(IFedChestLedger.NotIncreasing.selector, 0));
        refuse(ids(3, 2), abi.encodeWithSelector(IFedChestLedger.NotIncreasing.selector, 2));
    }

    function test_wrongRefusalsAreRefused() public {
        uint16[] memory accepted = ids(0, 2);
        refuse(
            accepted, refusal(2, 1), abi.encodeWithSelector(IFedChestLedger.AcceptedAndRefused.selector, 2)
        );
        refuse(accepted, refusal(3, 0), abi.encodeWithSelector(IFedChestLedger.MissingReason.selector, 3));
        refuse(accepted, refusal(9, 1), abi.encodeWithSelector(IFedChestLedger.NotMember.selector, 1, 9));
        refuse(accepted, twoRefusals(3, 3), abi.encodeWithSelector(IFedChestLedger.NotIncreasing.selector, 3));
        refuse(accepted, twoRefusals(3, 1), abi.encodeWithSelector(IFedChestLedger.NotIncreasing.selector, 1));
        propose(1, proposal(accepted), accepted, twoRefusals(1, 3));
    }

    /// @dev Whatever lists are proposed, what is accepted was submitted, in order, and is not refused too.
    function testFuzz_acceptedAndRefusedLists(uint16 one, uint16 two, uint16 refused) public {
        (one, two, refused) = (one % 5, two % 5, refused % 5);
        bool submitted = one != 1 && two != 1 && two != 4;
        bool sound = submitted && one < two && refused != 4 && refused != one && refused != two;
        try this.attempt(ids(one, two), refusal(refused, 1)) {
            require(sound, "unsound lists were taken");
        } catch {
            require(!sound, "sound lists were refused");
        }
    }

    function attempt(uint16[] memory accepted, IFedChestLedger.Refusal[] memory refusals) external {
        IFedChestLedger.Proposal memory made;
        made.newModel = NEW_MODEL;
        propose(1, made, accepted, refusals);
    }
}
