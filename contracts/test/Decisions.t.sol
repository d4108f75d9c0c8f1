// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Decisions: what a quorum is, what only it can do, and what not even it can.
contract DecisionsTest is Study {
    bytes private allowance;

    function setUp() public override {
        super.setUp();
        allowance = abi.encodeCall(ledger.setAllowed, ("other", true));
    }

    function test_decisionIsTakenAtTheQuorumAndNotBefore() public {
        bytes32 decision = ledger.decisionOf(allowance);
        support(0, allowance);
        support(1, allowance);
        require(!ledger.isAllowed("other") && ledger.decisionOf(allowance) == decision, "too early");
        vm.expectEmit(address(ledger));
        emit IInstitutions.DecisionSupported(decision, 3, allowance);
        vm.expectEmit(address(ledger));
        emit IInstitutions.DecisionTaken(decision);
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.AllowanceChanged("other", true);
        support(3, allowance);
        require(ledger.isAllowed("other"), "taken");
        uint16[] memory supporters = ledger.supporters(decision);
        require(supporters.length == 3 && supporters[2] == 3, "on record");
    }

    function test_sameActionIsDecidedAgain() public {
        decide(allowance);
        decide(abi.encodeCall(ledger.setAllowed, ("other", false)));
        require(!ledger.isAllowed("other"), "no longer");
        support(0, allowance);
        require(!ledger.isAllowed("other"), "old support is spent");
        support(1, allowance);
        support(2, allowance);
        require(ledger.isAllowed("other"), "again");
    }

    function test_nobodySupportsTwice() public {
        support(0, allowance);
        vm.expectRevert(
            abi.encodeWithSelector(IInstitutions.AlreadySupported.selector, ledger.decisionOf(allowance), 0)
        );
        support(0, allowance);
    }

    function test_withdrawnSupportDoesNotCount() public {
        bytes32 decision = ledger.decisionOf(allowance);
        support(0, allowance);
        support(1, allowance);
        vm.expectEmit(address(ledger));
        emit IInstitutions.SupportWithdrawn(decision, 0);
        vm.prank(wallet(0));
        ledger.withdraw(allowance);
        support(2, allowance);
        require(!ledger.isAllowed("other"), "two of four");
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.NotSupported.selector, decision, 0));
        vm.prank(wallet(0));
        ledger.withdraw(allowance);
        uint16[] memory supporters = ledger.supporters(decision);
        require(supporters.length == 2 && supporters[0] == 1 && supporters[1] == 2, "the others stay");
    }

    function test_supportOfOneThatLeftDoesNotCount() public {
        support(3, allowance);
        support(0, allowance);
        suspend(3);
        support(1, allowance);
        require(!ledger.isAllowed("other"), "two of the three that are left");
        support(2, allowance);
        require(ledger.isAllowed("other"), "three");
    }

    function test_onlyAnActiveInstitutionWithdraws() public {
        support(3, allowance);
        suspend(3);
        vm.expectRevert(
            abi.encodeWithSelector(IInstitutions.NotActive.selector, 3, IInstitutions.Status.Suspended)
        );
        vm.prank(wallet(3));
        ledger.withdraw(allowance);
    }

    function test_majorityIsAQuorumWhereOnlyCrashesAreExpected() public {
        IFedChestLedger.Rules memory rules = standard();
        rules.crashOnly = true;
        rules.founders = 5;
        found(rules);
        support(0, allowance);
        support(1, allowance);
        require(!ledger.isAllowed("other"), "two of five");
        support(2, allowance);
        require(ledger.isAllowed("other"), "three of five");
        open();
        require(ledger.round(1).quorum == 3, "in rounds too");
    }

    function test_quorumIsMoreThanTwoThirdsOrMoreThanHalf() public {
        IFedChestLedger.Rules memory rules = standard();
        rules.minimumAccepted = 1;
        for (uint16 members = 1; members < 12; ++members) {
            rules.founders = members;
            rules.crashOnly = false;
            require(3 * quorumOf(rules) > 2 * members && 3 * (quorumOf(rules) - 1) <= 2 * members, "two thirds");
            rules.crashOnly = true;
            require(2 * quorumOf(rules) > members && 2 * (quorumOf(rules) - 1) <= members, "half");
        }
    }

    function quorumOf(IFedChestLedger.Rules memory rules) private returns (uint16) {
        found(rules);
        open();
        return ledger.round(1).quorum;
    }

    /// @dev Every action that is by decision only, called by the coordinator, an institution and a stranger.
    function test_nobodyDecidesAlone() public {
        bytes32 role = ledger.DEFAULT_ADMIN_ROLE();
        bytes[] memory actions = new bytes[](13);
        actions[0] = abi.encodeCall(ledger.approveInitialModel, (FIRST_MODEL, PROVENANCE, ledger.roster()));
        actions[1] = abi.encodeCall(ledger.restartFrom, (0));
        actions[2] = allowance;
        actions[3] = abi.encodeCall(ledger.moveStudy, (OUTSIDER));
        actions[4] = abi.encodeCall(ledger.pause, ());
        actions[5] = abi.encodeCall(ledger.unpause, ());
        actions[6] = abi.encodeCall(ledger.registerInstitution, (OUTSIDER, 1, 1));
        actions[7] = abi.encodeCall(ledger.suspendInstitution, (0));
        actions[8] = abi.encodeCall(ledger.reinstateInstitution, (0));
        actions[9] = abi.encodeCall(ledger.revokeInstitution, (0));
        actions[10] = abi.encodeCall(ledger.rotateKey, (0, OUTSIDER));
        actions[11] = abi.encodeCall(ledger.grantRole, (role, OUTSIDER));
        actions[12] = abi.encodeCall(ledger.revokeRole, (ledger.COORDINATOR(), address(this)));
        address[3] memory callers = [address(this), wallet(0), OUTSIDER];
        for (uint256 i = 0; i < actions.length; ++i) {
            for (uint256 j = 0; j < callers.length; ++j) expectNoRight(callers[j], role, actions[i]);
        }
    }

    function expectNoRight(address caller, bytes32 role, bytes memory action) private {
        vm.prank(caller);
        (bool done, bytes memory said) = address(ledger).call(action);
        bytes4 refused = IAccessControl.AccessControlUnauthorizedAccount.selector;
        require(!done && keccak256(said) == keccak256(abi.encodeWithSelector(refused, caller, role)), "not refused");
    }

    function test_actionThatIsNoneIsRefused() public {
        refuseAtQuorum("nonsense", abi.encodeWithSelector(Errors.FailedCall.selector));
    }

    // -------------------------------------------------------------------------------------------------------- roles

    function test_administratorIsTheContractForGood() public {
        bytes32 role = ledger.DEFAULT_ADMIN_ROLE();
        bytes memory fixedForGood = abi.encodeWithSelector(IInstitutions.AdministratorFixed.selector);
        refuseAtQuorum(abi.encodeCall(ledger.grantRole, (role, wallet(0))), fixedForGood);
        refuseAtQuorum(abi.encodeCall(ledger.revokeRole, (role, address(ledger))), fixedForGood);
        require(ledger.hasRole(role, address(ledger)), "still");
    }

    function test_anotherCoordinatorIsDecidedOn() public {
        bytes32 role = ledger.COORDINATOR();
        decide(abi.encodeCall(ledger.grantRole, (role, OUTSIDER)));
        decide(abi.encodeCall(ledger.revokeRole, (role, address(this))));
        expectUnauthorized(address(this), role);
        open();
        vm.prank(OUTSIDER);
        ledger.openRound(CONFIG);
    }

    function test_institutionIsNoCoordinator() public {
        refuseAtQuorum(
            abi.encodeCall(ledger.grantRole, (ledger.COORDINATOR(), wallet(0))),
            abi.encodeWithSelector(IInstitutions.InvalidWallet.selector, wallet(0))
        );
    }

    // ------------------------------------------------------------------------------------------- pausing and moving

    function test_pauseStopsRoundsAndNoDecision() public {
        reachProposed();
        IFedChestLedger.Attestation memory result = vote(0);
        decide(abi.encodeCall(ledger.pause, ()));
        vm.prank(wallet(0));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        ledger.attest(1, result);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        ledger.openRound(CONFIG);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        propose(1, proposal(first(4)), first(4), noRefusals());
        vm.expectRevert(Pausable.EnforcedPause.selector);
        ledger.abandonRound(1, noRefusals());
        refuseAtQuorum(
            abi.encodeCall(ledger.pause, ()), abi.encodeWithSelector(Pausable.EnforcedPause.selector)
        );
        decide(abi.encodeCall(ledger.unpause, ()));
        attest(0);
        refuseAtQuorum(
            abi.encodeCall(ledger.unpause, ()), abi.encodeWithSelector(Pausable.ExpectedPause.selector)
        );
    }

    function test_pauseStopsSubmissions() public {
        open();
        IFedChestLedger.Submission memory made = submission(0);
        bytes memory signed = signature(made, key(0));
        decide(abi.encodeCall(ledger.pause, ()));
        vm.expectRevert(Pausable.EnforcedPause.selector);
        send(0, made);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        ledger.submitUpdateFor(made, signed);
        decide(abi.encodeCall(ledger.unpause, ()));
        send(0, made);
    }

    function test_pausedRoundExpiresAllTheSame() public {
        open();
        decide(abi.encodeCall(ledger.pause, ()));
        vm.warp(block.timestamp + SUBMISSION_SECONDS + 1);
        ledger.expireRound(1);
        expectPhase(1, IFedChestLedger.Phase.Void);
    }

    function test_studyMovesForGood() public {
        finishRound();
        vm.roll(20);
        vm.setBlockhash(19, "checkpoint");
        bytes memory action = abi.encodeCall(ledger.moveStudy, (OUTSIDER));
        support(0, action);
        support(1, action);
        vm.expectEmit(address(ledger));
        emit IInstitutions.DecisionSupported(ledger.decisionOf(action), 2, action);
        vm.expectEmit(address(ledger));
        emit IInstitutions.DecisionTaken(ledger.decisionOf(action));
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.StudyMoved(OUTSIDER, 1, NEW_MODEL, "checkpoint");
        support(2, action);
        require(ledger.successor() == OUTSIDER && ledger.paused(), "over");
        bytes memory over = abi.encodeWithSelector(IFedChestLedger.StudyOver.selector, OUTSIDER);
        refuseAtQuorum(abi.encodeCall(ledger.unpause, ()), over);
        refuseAtQuorum(abi.encodeCall(ledger.restartFrom, (0)), over);
        refuseAtQuorum(abi.encodeCall(ledger.moveStudy, (address(1))), over);
    }

    function test_pausedStudyMoves() public {
        decide(abi.encodeCall(ledger.pause, ()));
        decide(abi.encodeCall(ledger.moveStudy, (OUTSIDER)));
        require(ledger.successor() == OUTSIDER && ledger.paused(), "moved");
    }

    function test_moveToNobodyOrDuringARoundIsRefused() public {
        refuseAtQuorum(
            abi.encodeCall(ledger.moveStudy, (address(0))),
            abi.encodeWithSelector(IInstitutions.InvalidWallet.selector, address(0))
        );
        open();
        refuseAtQuorum(
            abi.encodeCall(ledger.moveStudy, (OUTSIDER)),
            abi.encodeWithSelector(IFedChestLedger.RoundLive.selector, 1)
        );
    }

    // -------------------------------------------------------------------------------------------------- restarting

    function test_studyGoesOnFromAnEarlierModel() public {
        finishRound();
        finishRound();
        require(ledger.head() == 2, "two rounds");
        decide(abi.encodeCall(ledger.restartFrom, (1)));
        require(ledger.head() == 1 && ledger.globalModel() == NEW_MODEL, "the first round's");
        decide(abi.encodeCall(ledger.restartFrom, (0)));
        require(ledger.head() == 0 && ledger.globalModel() == FIRST_MODEL, "the first model");
        open();
        require(ledger.round(3).parent == 0 && ledger.round(3).baseModel == FIRST_MODEL, "from there");
        require(ledger.round(2).parent == 1, "history stays");
    }

    function test_restartFromNoModelOrDuringARoundIsRefused() public {
        refuseAtQuorum(
            abi.encodeCall(ledger.restartFrom, (1)),
            abi.encodeWithSelector(IFedChestLedger.NotFinalized.selector, 1)
        );
        open();
        refuseAtQuorum(
            abi.encodeCall(ledger.restartFrom, (0)),
            abi.encodeWithSelector(IFedChestLedger.RoundLive.selector, 1)
        );
        ledger.abandonRound(1, noRefusals());
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.NotFinalized.selector, 1));
        support(2, abi.encodeCall(ledger.restartFrom, (1)));
    }
}
