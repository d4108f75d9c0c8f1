// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {ILedger, Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Everyone who has to do with one study, acting at random and remembering what must never change again.
/// @notice Most actions fit the round's phase, or hardly a round would ever end; some are faulty on purpose. Nothing here
/// reads the contract's sources: what is remembered was seen in its views.
contract Handler is Study {
    uint16 private constant COUNT = 4;

    bytes32[] private _ended; // of each round that ended, its hash then; by number minus 1
    mapping(uint256 round => mapping(uint16 id => bytes32)) private _committed;
    mapping(uint16 id => uint64) private _spent;
    mapping(bytes32 decision => mapping(uint16 id => bool)) private _supports;
    mapping(uint16 id => address) private _wallet;
    uint160 private _newWallet = 0x1000;

    /// @notice What was seen and must not be; empty if nothing.
    string public broken;
    mapping(string event_ => uint256) public seen;

    constructor() {
        found(standard());
        for (uint16 id = 0; id < COUNT; ++id) _wallet[id] = wallet(id);
    }

    function theLedger() external view returns (ILedger) {
        return ledger;
    }

    // ------------------------------------------------------------------------------------------------------- actions

    /// @dev What the round's phase calls for, without a fault.
    function plays(uint16 id, uint8 luck) external {
        IFedChestLedger.Phase phase = ledger.round(ledger.currentRound()).phase;
        if (phase == IFedChestLedger.Phase.Open) submits(id, luck, false);
        else if (phase == IFedChestLedger.Phase.Submitting && luck < 170) submits(id, luck, false);
        else if (phase == IFedChestLedger.Phase.Submitting) proposes(id, false);
        else if (phase == IFedChestLedger.Phase.Proposed && luck < 64) vouches(luck, id);
        else if (phase == IFedChestLedger.Phase.Proposed) attests(id, 32);
        else opens();
    }

    function opens() public watched {
        _try(address(this), abi.encodeCall(ledger.openRound, (CONFIG)), "opened");
    }

    function submits(uint16 id, uint64 epsilon, bool faulty) public watched {
        id %= COUNT;
        IFedChestLedger.Submission memory made = submission(id);
        made.epsilon = faulty ? epsilon % (2 * BUDGET) : made.epsilon - SPENT + epsilon % 3;
        made.sealedHash = keccak256(abi.encode(epsilon));
        _try(_wallet[id], abi.encodeCall(ledger.submitUpdate, (made)), "submitted");
    }

    function proposes(uint256 who, bool faulty) public watched {
        uint256 number = ledger.currentRound();
        uint16[] memory ids = new uint16[](COUNT);
        uint16 count;
        for (uint16 id = 0; id < COUNT; ++id) {
            bool submitted = ledger.commitment(number, id) != 0;
            if (submitted || (faulty && (who >> id) & 1 == 1)) ids[count++] = id;
        }
        assembly ("memory-safe") {
            mstore(ids, count)
        }
        IFedChestLedger.Proposal memory made = proposal(ids);
        made.newModel = keccak256(abi.encode(number));
        bytes memory call_ =
            abi.encodeCall(ledger.proposeAggregate, (number, made, ids, noScores(), noRefusals()));
        _try(address(this), call_, "proposed");
    }

    function attests(uint16 id, uint8 fault) public watched {
        id %= COUNT;
        IFedChestLedger.Attestation memory result = vote(id);
        if (fault < 32) result.newModel = "another";
        if (fault % 32 == 7) result.share = share(id + 1);
        _try(_wallet[id], abi.encodeCall(ledger.attest, (ledger.currentRound(), result)), "attested");
    }

    function vouches(uint16 voucher, uint16 id) public watched {
        (voucher, id) = (voucher % COUNT, id % COUNT);
        uint256 number = ledger.currentRound();
        bytes32 proposed = ledger.round(number).proposal;
        _try(_wallet[voucher], abi.encodeCall(ledger.answerFor, (number, id, proposed, share(id))), "vouched");
    }

    function disturbs(uint16 id, uint16 luck) external watched {
        uint256 number = ledger.currentRound();
        vm.warp(block.timestamp + (luck % 8 == 0 ? SUBMISSION_SECONDS : luck % 60));
        _try(OUTSIDER, abi.encodeCall(ledger.expireRound, (number)), "expired");
        if (luck % 8 == 1) _try(address(this), abi.encodeCall(ledger.abandonRound, (number, noRefusals())), "abandoned");
        if (luck % 8 == 2) _rotate(id % COUNT);
    }

    function intrudes(uint16 id, uint8 which) external watched {
        bytes memory call_ = _action(id, which);
        if (_try(id % 2 == 0 ? OUTSIDER : _wallet[id % COUNT], call_, "")) broken = "one alone decided";
    }

    function decides(uint16 id, uint16 about, uint8 which) external {
        bytes memory action = _action(about, which);
        bytes32 decision = ledger.decisionOf(action);
        bytes32 before = constitution();
        id %= COUNT;
        uint16 quorum = 2 * ledger.activeCount() / 3 + 1;
        uint16 others = _support(decision);
        bool counts = ledger.institution(id).status == IInstitutions.Status.Active && !_supports[decision][id];
        if (_try(_wallet[id], abi.encodeCall(ledger.support, (action)), "supported")) {
            if (!counts) broken = "support was taken that does not count";
            _supports[decision][id] = true;
        }
        bool taken = ledger.decisionOf(action) != decision;
        if (taken && others + 1 < quorum) broken = "a decision was taken without a quorum";
        if (!taken && constitution() != before) broken = "something was decided without a decision";
        if (taken) ++seen["decided"];
        _remember();
    }

    function withdraws(uint16 id, uint16 about, uint8 which) external watched {
        bytes memory action = _action(about, which);
        id %= COUNT;
        if (_try(_wallet[id], abi.encodeCall(ledger.withdraw, (action)), "withdrawn")) {
            _supports[ledger.decisionOf(action)][id] = false;
        }
    }

    // -------------------------------------------------------------------------------------------------------- watching

    /// @dev What only a decision changes is as it was, and what ended stays as it ended.
    modifier watched() {
        bytes32 before = constitution();
        _;
        if (constitution() != before) broken = "something was decided without a decision";
        _remember();
    }

    function constitution() public view returns (bytes32 hash) {
        hash = keccak256(abi.encode(ledger.paused(), ledger.successor(), ledger.isAllowed("other"), ledger.roster()));
        for (uint16 id = 0; id < COUNT; ++id) hash = keccak256(abi.encode(hash, ledger.institution(id).status));
    }

    function _remember() private {
        uint256 number = ledger.currentRound();
        if (number == 0) return;
        for (uint16 id = 0; id < COUNT; ++id) {
            _see(number, id);
        }
        IFedChestLedger.Phase phase = ledger.round(number).phase;
        if (phase != IFedChestLedger.Phase.Finalized && phase != IFedChestLedger.Phase.Void) return;
        if (_ended.length < number) {
            _ended.push(hashOf(number));
            ++seen[phase == IFedChestLedger.Phase.Void ? "void" : "finalized"];
        }
    }

    function _see(uint256 number, uint16 id) private {
        bytes32 now_ = ledger.commitment(number, id);
        if (_committed[number][id] != 0 && _committed[number][id] != now_) broken = "a commitment was replaced";
        _committed[number][id] = now_;
        IInstitutions.Institution memory one = ledger.institution(id);
        if (one.epsilonSpent < _spent[id]) broken = "a spend decreased";
        if (one.epsilonSpent > one.epsilonBudget) broken = "a spend is above the budget";
        _spent[id] = one.epsilonSpent;
    }

    function ended() external view returns (uint256) {
        return _ended.length;
    }

    function endedAs(uint256 number) external view returns (bytes32) {
        return _ended[number - 1];
    }

    /// @notice All that there is about a round, but who put a late vote on record; without the copy of the pause.
    function hashOf(uint256 number) public view returns (bytes32 hash) {
        IFedChestLedger.Round memory round = ledger.round(number);
        round.halted = false;
        hash = keccak256(abi.encode(round, ledger.accepted(number), ledger.scores(number)));
        for (uint16 id = 0; id < COUNT; ++id) {
            hash = keccak256(
                abi.encode(hash, ledger.commitment(number, id), ledger.isMember(number, id), ledger.owes(number, id))
            );
        }
    }

    // --------------------------------------------------------------------------------------------------------- pieces

    function _rotate(uint16 id) private {
        address next = address(++_newWallet);
        if (_try(_wallet[id], abi.encodeCall(ledger.rotateOwnKey, (next)), "rotated")) _wallet[id] = next;
    }

    function _action(uint16 about, uint8 which) private view returns (bytes memory) {
        which %= 8;
        uint16 id = about % 2; // the last two always stay
        if (which == 0) return abi.encodeCall(ledger.suspendInstitution, (id));
        if (which < 3) return abi.encodeCall(ledger.reinstateInstitution, (id));
        if (which == 3) return abi.encodeCall(ledger.pause, ());
        if (which < 6) return abi.encodeCall(ledger.unpause, ());
        if (which == 6) return abi.encodeCall(ledger.setAllowed, ("other", about % 4 < 2));
        return abi.encodeCall(ledger.restartFrom, (about % (ledger.currentRound() + 1)));
    }

    function _support(bytes32 decision) private view returns (uint16 count) {
        for (uint16 id = 0; id < COUNT; ++id) {
            bool active = ledger.institution(id).status == IInstitutions.Status.Active;
            if (active && _supports[decision][id]) ++count;
        }
    }

    function _try(address sender, bytes memory call_, string memory event_) private returns (bool done) {
        vm.prank(sender);
        (done,) = address(ledger).call(call_);
        if (done) ++seen[event_];
    }
}
