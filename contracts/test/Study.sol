// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

import {Fingerprint} from "../src/Fingerprint.sol";
import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Signing} from "./Signing.sol";
import {vm} from "./Vm.sol";

/// @dev What the ledger has from OpenZeppelin, as far as the tests call it.
interface ILedger is IFedChestLedger, IAccessControl {
    function DEFAULT_ADMIN_ROLE() external view returns (bytes32);
    function paused() external view returns (bool);
}

/// @title A study of four institutions, of weight classes 1 to 4, whose coordinator is the test itself.
/// @notice The ledger is deployed from the artifact that LEDGER names, so that the tests run on the shipped bytecode
/// and on each mutant's without being compiled again.
abstract contract Study {
    bool public constant IS_TEST = true;

    bytes32 internal constant CONFIG = "config";
    bytes32 internal constant FIRST_MODEL = keccak256("first model");
    bytes32 internal constant NEW_MODEL = keccak256("new model");
    bytes32 internal constant PROVENANCE = "provenance";
    uint32 internal constant SUBMISSION_SECONDS = 600;
    uint32 internal constant ATTESTATION_SECONDS = 300;
    uint64 internal constant BUDGET = 1000;
    uint64 internal constant SPENT = 10;
    uint8 internal constant CHECKS = 0x7F;
    uint64 internal constant CREDITS = 1_000_000;
    address internal constant OUTSIDER = address(0xBAD);

    ILedger internal ledger;

    function setUp() public virtual {
        found(standard());
    }

    // ------------------------------------------------------------------------------------------------- the founding

    function standard() internal pure returns (IFedChestLedger.Rules memory rules) {
        rules.study = CONFIG;
        rules.app = "app";
        rules.founders = 4;
        rules.submissionSeconds = SUBMISSION_SECONDS;
        rules.attestationSeconds = ATTESTATION_SECONDS;
        rules.minimumAccepted = 2;
        rules.normBound = 1e6;
        rules.epsilonBudget = BUDGET;
    }

    function create(IFedChestLedger.Rules memory rules) internal returns (ILedger created) {
        bytes memory code = vm.getCode(vm.envOr("LEDGER", "FedChestLedger.sol:FedChestLedger"));
        bytes memory creation = abi.encodePacked(code, abi.encode(rules));
        assembly ("memory-safe") {
            created := create(0, add(creation, 32), mload(creation))
            if iszero(created) {
                returndatacopy(mload(0x40), 0, returndatasize())
                revert(mload(0x40), returndatasize())
            }
        }
    }

    function list(IFedChestLedger.Rules memory rules) internal {
        ledger = create(rules);
        for (uint16 id = 0; id < rules.founders; ++id) ledger.registerFounder(wallet(id), weight(id), BUDGET);
    }

    function found(IFedChestLedger.Rules memory rules) internal {
        list(rules);
        decide(abi.encodeCall(ledger.approveInitialModel, (FIRST_MODEL, PROVENANCE, ledger.roster())));
    }

    function key(uint16 id) internal pure returns (uint256) {
        return uint256(id) + 1;
    }

    function wallet(uint16 id) internal pure returns (address) {
        return vm.addr(key(id));
    }

    function weight(uint16 id) internal pure returns (uint16) {
        return id + 1;
    }

    // ---------------------------------------------------------------------------------------------------- decisions

    function support(uint16 id, bytes memory action) internal {
        vm.prank(wallet(id));
        ledger.support(action);
    }

    /// @dev The active institutions support the action, in the order of their ids, until it is taken.
    function decide(bytes memory action) internal {
        bytes32 decision = ledger.decisionOf(action);
        for (uint16 id = 0; ledger.decisionOf(action) == decision; ++id) {
            if (ledger.institution(id).status == IInstitutions.Status.Active) support(id, action);
        }
    }

    /// @dev Support that would be a quorum is refused with the action's own error.
    function refuseAtQuorum(bytes memory action, bytes memory reason) internal {
        support(0, action);
        support(1, action);
        vm.prank(wallet(2));
        vm.expectRevert(reason);
        ledger.support(action);
    }

    function suspend(uint16 id) internal {
        decide(abi.encodeCall(ledger.suspendInstitution, (id)));
    }

    // ----------------------------------------------------------------------------------------------------- a round

    function open() internal returns (uint256) {
        return ledger.openRound(CONFIG);
    }

    function submission(uint16 id) internal view returns (IFedChestLedger.Submission memory made) {
        made.round = ledger.currentRound();
        made.institution = id;
        made.baseModel = ledger.round(made.round).baseModel;
        made.sealedHash = keccak256(abi.encode("sealed", made.round, id));
        made.plaintextHash = keccak256(abi.encode("plaintext", made.round, id));
        made.manifestHash = keccak256(abi.encode("manifest", made.round, id));
        made.weightClass = weight(id);
        made.epsilon = ledger.institution(id).epsilonSpent + SPENT;
    }

    function send(uint16 id, IFedChestLedger.Submission memory made) internal {
        vm.prank(wallet(id));
        ledger.submitUpdate(made);
    }

    function submit(uint16 id) internal {
        send(id, submission(id));
    }

    function submitAll() internal {
        for (uint16 id = 0; id < 4; ++id) submit(id);
    }

    function digest(IFedChestLedger.Submission memory made) internal view returns (bytes32) {
        return Signing.digest(made, address(ledger));
    }

    function signature(IFedChestLedger.Submission memory made, uint256 signer) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signer, digest(made));
        return abi.encodePacked(r, s, v);
    }

    function first(uint16 count) internal pure returns (uint16[] memory ids) {
        ids = new uint16[](count);
        for (uint16 id = 0; id < count; ++id) ids[id] = id;
    }

    function noScores() internal pure returns (uint32[] memory) {}

    function noRefusals() internal pure returns (IFedChestLedger.Refusal[] memory) {}

    function refusal(uint16 id, uint8 reason) internal pure returns (IFedChestLedger.Refusal[] memory refusals) {
        refusals = new IFedChestLedger.Refusal[](1);
        refusals[0] = IFedChestLedger.Refusal(id, reason);
    }

    /// @dev What institution `id` answers as its own update's fingerprint.
    function share(uint16 id) internal pure returns (bytes24) {
        return bytes24(bytes.concat(bytes8(uint64(id) + 1), bytes8(uint64(7) * id), bytes8((uint64(1) << 61) - 2 - id)));
    }

    function fingerprintOf(uint16[] memory accepted) internal pure returns (bytes24 total) {
        for (uint256 i = 0; i < accepted.length; ++i) {
            total = Fingerprint.add(total, share(accepted[i]), weight(accepted[i]));
        }
    }

    function proposal(uint16[] memory accepted) internal pure returns (IFedChestLedger.Proposal memory made) {
        made.newModel = NEW_MODEL;
        made.record = "record";
        made.sumHash = "sum";
        made.fingerprint = fingerprintOf(accepted);
        made.artifacts = "artifacts";
    }

    function propose(uint16[] memory accepted) internal {
        propose(proposal(accepted), accepted, noRefusals());
    }

    function propose(
        IFedChestLedger.Proposal memory made,
        uint16[] memory accepted,
        IFedChestLedger.Refusal[] memory refusals
    ) internal {
        propose(ledger.currentRound(), made, accepted, refusals);
    }

    function propose(
        uint256 number,
        IFedChestLedger.Proposal memory made,
        uint16[] memory accepted,
        IFedChestLedger.Refusal[] memory refusals
    ) internal {
        ledger.proposeAggregate(number, made, accepted, noScores(), refusals);
    }

    /// @dev Open, submitted by all and proposed with all.
    function reachProposed() internal returns (uint256 number) {
        number = open();
        submitAll();
        propose(first(4));
    }

    function vote(uint16 id) internal view returns (IFedChestLedger.Attestation memory) {
        IFedChestLedger.Round memory round = ledger.round(ledger.currentRound());
        return IFedChestLedger.Attestation(round.proposal, round.newModel, round.fingerprint, share(id), CHECKS);
    }

    function cast(uint16 id, IFedChestLedger.Attestation memory result) internal {
        uint256 number = ledger.currentRound();
        vm.prank(wallet(id));
        ledger.attest(number, result);
    }

    function attest(uint16 id) internal {
        cast(id, vote(id));
    }

    function disagree(uint16 id) internal {
        IFedChestLedger.Attestation memory result = vote(id);
        result.newModel = "another";
        cast(id, result);
    }

    function finishRound() internal returns (uint256 number) {
        number = reachProposed();
        for (uint16 id = 0; id < 4; ++id) attest(id);
    }

    // -------------------------------------------------------------------------------------------------- expectations

    function expectPhase(uint256 number, IFedChestLedger.Phase phase) internal view {
        require(ledger.round(number).phase == phase, "another phase");
    }

    function expectWrongPhase(uint256 number, IFedChestLedger.Phase phase) internal {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongPhase.selector, number, phase));
    }

    function expectUnauthorized(address account, bytes32 role) internal {
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role));
    }

    function expectNotMember(uint256 number, uint16 id) internal {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.NotMember.selector, number, id));
    }
}
