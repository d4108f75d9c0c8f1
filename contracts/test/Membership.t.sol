// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Who takes part: registration, suspension, revocation and keys.
contract MembershipTest is Study {
    address private constant NEW_WALLET = address(0xCAFE);

    function expectNotActive(uint16 id, IInstitutions.Status status) private {
        vm.expectRevert(notActive(id, status));
    }

    function notActive(uint16 id, IInstitutions.Status status) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IInstitutions.NotActive.selector, id, status);
    }

    function test_institutionJoinsByDecision() public {
        bytes32 roster = ledger.roster();
        decide(abi.encodeCall(ledger.registerInstitution, (wallet(4), 5, BUDGET)));
        require(ledger.institutionCount() == 5 && ledger.activeCount() == 5 && ledger.totalWeight() == 15, "counts");
        require(ledger.roster() == keccak256(abi.encode(roster, wallet(4), uint16(5), BUDGET)), "roster");
        require(ledger.idOf(wallet(4)) == 4, "id");
    }

    function test_suspendedOneDoesNothingUntilReinstated() public {
        suspend(1);
        require(ledger.activeCount() == 3, "three left");
        expectNotActive(1, IInstitutions.Status.Suspended);
        support(1, "anything");
        expectNotActive(1, IInstitutions.Status.Suspended);
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        decide(abi.encodeCall(ledger.reinstateInstitution, (1)));
        require(ledger.institution(1).status == IInstitutions.Status.Active && ledger.activeCount() == 4, "back");
        support(1, "anything");
    }

    function test_revokedOneNeverComesBack() public {
        decide(abi.encodeCall(ledger.revokeInstitution, (3)));
        require(ledger.institution(3).status == IInstitutions.Status.Revoked, "revoked");
        bytes memory again = notActive(3, IInstitutions.Status.Revoked);
        refuseAtQuorum(abi.encodeCall(ledger.reinstateInstitution, (3)), again);
        refuseAtQuorum(abi.encodeCall(ledger.revokeInstitution, (3)), again);
        refuseAtQuorum(abi.encodeCall(ledger.suspendInstitution, (3)), again);
    }

    function test_suspendedOneCanBeRevoked() public {
        suspend(3);
        decide(abi.encodeCall(ledger.revokeInstitution, (3)));
        require(ledger.institution(3).status == IInstitutions.Status.Revoked && ledger.activeCount() == 3, "once");
    }

    function test_wrongStatusIsRefused() public {
        refuseAtQuorum(
            abi.encodeCall(ledger.reinstateInstitution, (1)), notActive(1, IInstitutions.Status.Active)
        );
        refuseAtQuorum(abi.encodeCall(ledger.suspendInstitution, (9)), notActive(9, IInstitutions.Status.None));
        refuseAtQuorum(abi.encodeCall(ledger.revokeInstitution, (9)), notActive(9, IInstitutions.Status.None));
        refuseAtQuorum(
            abi.encodeCall(ledger.rotateKey, (4, NEW_WALLET)), notActive(4, IInstitutions.Status.None)
        );
    }

    function test_lastActiveOneStays() public {
        suspend(3);
        suspend(2);
        suspend(1);
        vm.prank(wallet(0));
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.LastInstitution.selector, 0));
        ledger.support(abi.encodeCall(ledger.suspendInstitution, (0)));
        require(ledger.activeCount() == 1, "one");
    }

    /// @dev Whoever leaves, the others stay in the places that the contract keeps of them.
    function test_leavingInAnyOrderKeepsTheOthers() public {
        suspend(0);
        suspend(3);
        decide(abi.encodeCall(ledger.reinstateInstitution, (0)));
        suspend(1);
        open();
        require(ledger.isMember(1, 0) && ledger.isMember(1, 2), "the two that are left");
        require(!ledger.isMember(1, 1) && !ledger.isMember(1, 3), "and no other");
    }

    function test_ownKeyIsReplaced() public {
        vm.expectEmit(address(ledger));
        emit IInstitutions.KeyRotated(1, wallet(1), NEW_WALLET);
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        require(ledger.institution(1).wallet == NEW_WALLET, "new");
        require(ledger.idOf(NEW_WALLET) == 1 && ledger.idOf(wallet(1)) == 1, "both mapped");
        expectRetired(1);
        support(1, "anything");
        vm.prank(NEW_WALLET);
        ledger.support("anything");
    }

    function expectRetired(uint16 id) private {
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.RetiredKey.selector, wallet(id), id));
    }

    function test_retiredKeySubmitsNothing() public {
        open();
        IFedChestLedger.Submission memory made = submission(1);
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        expectRetired(1);
        send(1, made);
        bytes memory signed = signature(made, key(1));
        expectRetired(1);
        ledger.submitUpdateFor(made, signed);
        vm.prank(NEW_WALLET);
        ledger.submitUpdate(made);
    }

    function test_retiredKeyAttestsNothing() public {
        reachProposed();
        IFedChestLedger.Attestation memory result = vote(1);
        vm.prank(wallet(1));
        ledger.rotateOwnKey(NEW_WALLET);
        vm.prank(wallet(1));
        expectRetired(1);
        ledger.attest(1, result);
        vm.prank(NEW_WALLET);
        ledger.attest(1, result);
    }

    function test_keyIsReplacedByDecision() public {
        decide(abi.encodeCall(ledger.rotateKey, (3, NEW_WALLET)));
        require(ledger.institution(3).wallet == NEW_WALLET, "new");
        refuseAtQuorum(
            abi.encodeCall(ledger.rotateKey, (0, wallet(3))),
            abi.encodeWithSelector(IInstitutions.WalletTaken.selector, wallet(3), 3)
        );
    }

    function test_walletOfAnotherIsRefused() public {
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.WalletTaken.selector, wallet(2), 2));
        vm.prank(wallet(1));
        ledger.rotateOwnKey(wallet(2));
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.InvalidWallet.selector, address(this)));
        vm.prank(wallet(1));
        ledger.rotateOwnKey(address(this));
    }

    function test_nobodysWalletIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        ledger.idOf(OUTSIDER);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        vm.prank(OUTSIDER);
        ledger.support("anything");
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.UnknownInstitution.selector, OUTSIDER));
        vm.prank(OUTSIDER);
        ledger.rotateOwnKey(NEW_WALLET);
    }
}
