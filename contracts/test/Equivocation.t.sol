// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Two different submissions of one institution in one round, and what is no proof of that.
contract EquivocationTest is Study {
    address private constant NEW_WALLET = address(0xCAFE);

    IFedChestLedger.Submission private one;
    IFedChestLedger.Submission private two;

    function setUp() public override {
        super.setUp();
        open();
        one = submission(1);
        two = one;
        two.sealedHash = "another";
    }

    function report() private {
        report(signature(one, key(1)), signature(two, key(1)));
    }

    function report(bytes memory signed, bytes memory otherSigned) private {
        vm.prank(OUTSIDER);
        ledger.reportEquivocation(one, signed, two, otherSigned);
    }

    /// @dev The signatures are made before, so that the refusal is expected of the report.
    function refuseReport(bytes memory reason) private {
        bytes memory signed = signature(one, key(1));
        bytes memory otherSigned = signature(two, key(1));
        vm.expectRevert(reason);
        report(signed, otherSigned);
    }

    function test_twoSignedSubmissionsAreProof() public {
        bytes memory signed = signature(one, key(1));
        bytes memory otherSigned = signature(two, key(1));
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.EquivocationProven(1, 1, digest(one), digest(two));
        report(signed, otherSigned);
        require(ledger.hasEquivocated(1, 1) && ledger.institution(1).strikes == 1, "proven");
        require(!ledger.hasEquivocated(1, 0) && !ledger.hasEquivocated(2, 1), "nothing else");
        require(ledger.institution(1).status == IInstitutions.Status.Active, "the quorum decides what follows");
    }

    function test_whatStandsOnChainNeedsNoSignature() public {
        send(1, one);
        report("", signature(two, key(1)));
        require(ledger.institution(1).strikes == 1, "proven");
    }

    function test_itIsProvenOnce() public {
        report();
        refuseReport(abi.encodeWithSelector(IFedChestLedger.AlreadyProven.selector, 1, 1));
    }

    function test_pauseDoesNotStopIt() public {
        decide(abi.encodeCall(ledger.pause, ()));
        report();
    }

    function test_sameSubmissionTwiceIsNone() public {
        two = one;
        refuseReport(abi.encodeWithSelector(IFedChestLedger.NoEquivocation.selector));
    }

    function test_submissionsOfTwoRoundsAreNone() public {
        ledger.abandonRound(1, noRefusals());
        open();
        two.round = 2;
        refuseReport(abi.encodeWithSelector(IFedChestLedger.NoEquivocation.selector));
    }

    function test_submissionsOfTwoInstitutionsAreNone() public {
        two.institution = 2;
        refuseReport(abi.encodeWithSelector(IFedChestLedger.NoEquivocation.selector));
    }

    function test_whoIsNoMemberIsNotReported() public {
        one.round = 9;
        two.round = 9;
        refuseReport(abi.encodeWithSelector(IFedChestLedger.NotMember.selector, 9, 1));
    }

    function test_bothMustBeItsOwn() public {
        bytes memory own = signature(one, key(1));
        bytes memory otherOwn = signature(two, key(1));
        bytes memory others = signature(one, key(2));
        bytes memory otherOthers = signature(two, key(2));
        bytes memory wrong = abi.encodeWithSelector(IInstitutions.WrongSigner.selector, wallet(2), 1);
        vm.expectRevert(wrong);
        report(own, otherOthers);
        vm.expectRevert(wrong);
        report(others, otherOwn);
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 0));
        report(own, "");
        vm.expectRevert(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 0));
        report("", otherOwn);
    }

    function test_keyThatAnotherHadInTheRoundIsNot() public {
        vm.prank(wallet(2));
        ledger.rotateOwnKey(NEW_WALLET);
        bytes memory own = signature(one, key(1));
        bytes memory others = signature(two, key(2));
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.WrongSigner.selector, wallet(2), 1));
        report(own, others);
    }

    function test_keyOfTheRoundStaysGoodForProof() public {
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        report();
    }

    /// @dev Whoever finds a retired key can't accuse its institution about later rounds.
    function test_keyRetiredBeforeTheRoundIsNot() public {
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        ledger.abandonRound(1, noRefusals());
        open();
        one.round = 2;
        two.round = 2;
        refuseReport(abi.encodeWithSelector(IInstitutions.WrongSigner.selector, wallet(1), 1));
    }
}
