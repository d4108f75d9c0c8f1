// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Signing} from "./Signing.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Submissions: who may commit to what, when, and with whose signature.
contract SubmissionsTest is Study {
    function setUp() public override {
        super.setUp();
        open();
    }

    function expectWrongSigner(address signer, uint16 id) private {
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.WrongSigner.selector, signer, id));
    }

    function test_submissionIsCommitted() public {
        IFedChestLedger.Submission memory made = submission(2);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.UpdateSubmitted(
            1, 2, digest(made), made.sealedHash, made.plaintextHash, made.manifestHash, 3, SPENT
        );
        send(2, made);
        require(ledger.commitment(1, 2) == digest(made), "the EIP-712 digest");
        require(ledger.institution(2).epsilonSpent == SPENT, "spent");
        expectPhase(1, IFedChestLedger.Phase.Submitting);
        require(ledger.commitment(1, 1) == 0, "nobody else's");
    }

    function test_nobodySubmitsTwice() public {
        submit(0);
        IFedChestLedger.Submission memory again = submission(0);
        again.sealedHash = "another";
        bytes memory twice = abi.encodeWithSelector(IFedChestLedger.AlreadySubmitted.selector, 1, 0);
        vm.expectRevert(twice);
        send(0, again);
        bytes memory signed = signature(again, key(0));
        vm.expectRevert(twice);
        ledger.submitUpdateFor(again, signed);
    }

    function test_lastSecondCountsAndNoLater() public {
        uint64 deadline = ledger.round(1).deadline;
        vm.warp(deadline);
        submit(0);
        IFedChestLedger.Submission memory late = submission(1);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.DeadlinePassed.selector, deadline));
        send(1, late);
    }

    function test_otherPhasesTakeNoUpdate() public {
        IFedChestLedger.Submission memory late = submission(3);
        IFedChestLedger.Submission memory early = submission(3);
        early.round = 2;
        expectWrongPhase(2, IFedChestLedger.Phase.None);
        send(3, early);
        submit(0);
        submit(1);
        propose(first(2));
        expectWrongPhase(1, IFedChestLedger.Phase.Proposed);
        send(3, late);
        for (uint16 id = 0; id < 3; ++id) attest(id);
        expectWrongPhase(1, IFedChestLedger.Phase.Finalized);
        send(3, late);
        open();
        ledger.abandonRound(2, noRefusals());
        expectWrongPhase(2, IFedChestLedger.Phase.Void);
        send(3, early);
    }

    function test_anotherBaseModelOrWeightIsRefused() public {
        IFedChestLedger.Submission memory made = submission(0);
        made.baseModel = "another";
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongBaseModel.selector, FIRST_MODEL));
        send(0, made);
        made = submission(0);
        made.weightClass = 2;
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongWeightClass.selector, 1));
        send(0, made);
    }

    function test_spendIsBoundByTheBudget() public {
        IFedChestLedger.Submission memory made = submission(0);
        made.epsilon = BUDGET + 1;
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.OverBudget.selector, BUDGET + 1, BUDGET));
        send(0, made);
        made.epsilon = BUDGET;
        send(0, made);
        require(ledger.institution(0).epsilonSpent == BUDGET, "all of it");
    }

    /// @dev A spend counts whatever becomes of the round, and staying where it was is no decrease.
    function test_spendNeverDecreases() public {
        submit(0);
        ledger.abandonRound(1, noRefusals());
        open();
        IFedChestLedger.Submission memory made = submission(0);
        made.epsilon = SPENT - 1;
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.SpendDecreased.selector, SPENT - 1, SPENT));
        send(0, made);
        made.epsilon = SPENT;
        send(0, made);
    }

    function test_nobodySubmitsForAnother() public {
        IFedChestLedger.Submission memory made = submission(0);
        expectWrongSigner(wallet(1), 0);
        send(1, made);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        vm.prank(OUTSIDER);
        ledger.submitUpdate(made);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, address(this)));
        ledger.submitUpdate(made);
    }

    // --------------------------------------------------------------------------------------------- signed and relayed

    function test_anyoneSendsWhatAnInstitutionSigned() public {
        IFedChestLedger.Submission memory made = submission(1);
        bytes memory signed = signature(made, key(1));
        vm.prank(OUTSIDER);
        ledger.submitUpdateFor(made, signed);
        require(ledger.commitment(1, 1) == digest(made), "committed");
    }

    function test_signatureOfAnotherIsRefused() public {
        IFedChestLedger.Submission memory made = submission(1);
        bytes memory signed = signature(made, key(2));
        expectWrongSigner(wallet(2), 1);
        ledger.submitUpdateFor(made, signed);
        signed = signature(made, 99);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, vm.addr(99)));
        ledger.submitUpdateFor(made, signed);
    }

    /// @dev Signed for another ledger or chain, a submission is somebody else's here.
    function test_signatureForAnotherPlaceIsRefused() public {
        IFedChestLedger.Submission memory made = submission(1);
        refuseSignedFor(made, block.chainid, address(0xABCD));
        refuseSignedFor(made, block.chainid + 1, address(ledger));
    }

    function refuseSignedFor(IFedChestLedger.Submission memory made, uint256 chain, address place) private {
        bytes32 signed =
            keccak256(abi.encodePacked("\x19\x01", Signing.domain(chain, place), Signing.hash(made)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(1), signed);
        address stranger = ecrecover(digest(made), v, r, s);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, stranger));
        ledger.submitUpdateFor(made, abi.encodePacked(r, s, v));
    }

    function test_digestIsOfThisChain() public {
        vm.chainId(4242);
        IFedChestLedger.Submission memory made = submission(1);
        bytes memory signed = signature(made, key(1));
        ledger.submitUpdateFor(made, signed);
    }

    function test_malleableTwinIsRefused() public {
        IFedChestLedger.Submission memory made = submission(1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key(1), digest(made));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 high = bytes32(order - uint256(s));
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
        ledger.submitUpdateFor(made, abi.encodePacked(r, high, v == 27 ? uint8(28) : uint8(27)));
    }

    function testFuzz_noRubbishIsASignature(bytes calldata rubbish) public {
        IFedChestLedger.Submission memory made = submission(1);
        (bool taken,) = address(ledger).call(abi.encodeCall(ledger.submitUpdateFor, (made, rubbish)));
        require(!taken && ledger.commitment(1, 1) == 0, "taken");
    }

    /// @dev A signature holds for what was signed, to the last bit.
    function testFuzz_changedSubmissionIsNotTheSignedOne(uint8 field, uint64 value) public {
        IFedChestLedger.Submission memory made = submission(1);
        bytes memory signed = signature(made, key(1));
        bytes32 before = keccak256(abi.encode(made));
        if (field % 5 == 0) made.sealedHash = bytes32(uint256(value));
        if (field % 5 == 1) made.plaintextHash = bytes32(uint256(value));
        if (field % 5 == 2) made.manifestHash = bytes32(uint256(value));
        if (field % 5 == 3) made.epsilon = value % (BUDGET + 1);
        if (field % 5 == 4) made.baseModel = bytes32(uint256(value));
        vm.assume(keccak256(abi.encode(made)) != before);
        (bool taken,) = address(ledger).call(abi.encodeCall(ledger.submitUpdateFor, (made, signed)));
        require(!taken && ledger.commitment(1, 1) == 0, "taken");
    }

    function testFuzz_spend(uint64 one, uint64 two) public {
        spend(one, 0);
        ledger.abandonRound(1, noRefusals());
        open();
        spend(two, one <= BUDGET ? one : 0);
    }

    function spend(uint64 epsilon, uint64 spent) private {
        IFedChestLedger.Submission memory made = submission(0);
        made.epsilon = epsilon;
        vm.prank(wallet(0));
        (bool taken,) = address(ledger).call(abi.encodeCall(ledger.submitUpdate, (made)));
        require(taken == (epsilon >= spent && epsilon <= BUDGET), "taken");
        require(ledger.institution(0).epsilonSpent == (taken ? epsilon : spent), "spent");
    }
}
