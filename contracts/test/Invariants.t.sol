// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {Handler} from "./Handler.sol";
import {ILedger} from "./Study.sol";

/// @title What holds after whatever anybody did, in any order.
contract InvariantsTest {
    bool public constant IS_TEST = true;

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Handler private handler;
    ILedger private ledger;

    function setUp() public {
        handler = new Handler();
        ledger = handler.theLedger();
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory calls = new bytes4[](9);
        calls[0] = Handler.plays.selector;
        calls[1] = Handler.submits.selector;
        calls[2] = Handler.proposes.selector;
        calls[3] = Handler.attests.selector;
        calls[4] = Handler.vouches.selector;
        calls[5] = Handler.disturbs.selector;
        calls[6] = Handler.intrudes.selector;
        calls[7] = Handler.decides.selector;
        calls[8] = Handler.withdraws.selector;
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(handler), calls);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @dev One campaign for all of them: each alone would play the same studies once more.
    function invariant_everythingHolds() public view {
        everythingHolds();
    }

    function everythingHolds() private view {
        nothingWasSeenThatMustNotBe();
        whatEndedNeverChanges();
        onlyTheLastRoundIsLive();
        noRoundIsFinalizedWithoutAQuorum();
        globalModelIsTheFirstOrAFinalizedRounds();
        creditsAreConserved();
        acceptedIsWhatMembersSubmitted();
        liveRoundKnowsOfThePause();
    }

    /// @dev No commitment is replaced, no spend decreases or is above its budget, nothing is decided without a quorum.
    function nothingWasSeenThatMustNotBe() private view {
        require(bytes(handler.broken()).length == 0, handler.broken());
    }

    function whatEndedNeverChanges() private view {
        for (uint256 number = 1; number <= handler.ended(); ++number) {
            require(handler.hashOf(number) == handler.endedAs(number), "a round changed after its end");
        }
    }

    function onlyTheLastRoundIsLive() private view {
        uint256 last = ledger.currentRound();
        require(ledger.round(last + 1).phase == IFedChestLedger.Phase.None, "a round that was not opened");
        require(last <= handler.ended() + 1, "two rounds at once");
    }

    function noRoundIsFinalizedWithoutAQuorum() private view {
        for (uint256 number = 1; number <= ledger.currentRound(); ++number) {
            IFedChestLedger.Round memory round = ledger.round(number);
            require(3 * uint256(round.quorum) > 2 * uint256(round.members), "the quorum");
            if (round.phase != IFedChestLedger.Phase.Finalized) continue;
            uint16 attested;
            for (uint16 id = 0; id < 4; ++id) if (ledger.hasAttested(number, id)) ++attested;
            require(round.agreeing >= round.quorum && attested >= round.quorum, "votes");
            require(round.unanswered == 0 && round.gathered == round.fingerprint, "the sum");
        }
    }

    function globalModelIsTheFirstOrAFinalizedRounds() private view {
        uint32 head = ledger.head();
        if (head == 0) {
            require(ledger.globalModel() == ledger.initialModel(), "the first");
        } else {
            IFedChestLedger.Round memory round = ledger.round(head);
            require(round.phase == IFedChestLedger.Phase.Finalized, "finalized");
            require(ledger.globalModel() == round.newModel, "its model");
        }
    }

    function creditsAreConserved() private view {
        uint256 finalized = handler.seen("finalized");
        uint256 credits;
        for (uint16 id = 0; id < 4; ++id) credits += ledger.institution(id).credits;
        require(credits <= finalized * ledger.ROUND_CREDITS(), "more than the rounds give");
        require(credits + 4 * finalized >= finalized * ledger.ROUND_CREDITS(), "less than the rounds give");
    }

    function acceptedIsWhatMembersSubmitted() private view {
        for (uint256 number = 1; number <= ledger.currentRound(); ++number) {
            uint16[] memory accepted = ledger.accepted(number);
            for (uint256 i = 0; i < accepted.length; ++i) {
                require(ledger.commitment(number, accepted[i]) != 0, "accepted and not submitted");
            }
            for (uint16 id = 0; id < 4; ++id) {
                bool acted = ledger.commitment(number, id) != 0 || ledger.hasAttested(number, id);
                require(!acted || ledger.isMember(number, id), "no member");
            }
        }
    }

    function liveRoundKnowsOfThePause() private view {
        uint256 number = ledger.currentRound();
        require(ledger.round(number).halted == ledger.paused(), "the copy differs");
    }

    /// @dev A study in which nothing happens would keep every promise.
    function test_everythingHappens() public {
        for (uint256 step = 0; step < 1500; ++step) {
            uint256 dice = uint256(keccak256(abi.encode(step)));
            (uint16 id, uint16 other, uint8 luck) = (uint16(dice >> 8), uint16(dice >> 24), uint8(dice >> 40));
            if (dice % 16 < 6) handler.plays(id, luck);
            else if (dice % 16 == 6) handler.submits(id, luck, true);
            else if (dice % 16 == 7) handler.proposes(other, true);
            else if (dice % 16 == 8) handler.attests(id, luck);
            else if (dice % 16 == 9) handler.vouches(id, other);
            else if (dice % 16 == 10) handler.disturbs(id, other);
            else if (dice % 16 == 11) handler.intrudes(id, luck);
            else if (dice % 16 < 15) handler.decides(id, other, luck);
            else handler.withdraws(id, other, luck);
        }
        string[12] memory events = [
            "opened", "submitted", "proposed", "attested", "vouched", "finalized",
            "void", "expired", "abandoned", "rotated", "decided", "withdrawn"
        ];
        for (uint256 i = 0; i < events.length; ++i) require(handler.seen(events[i]) != 0, events[i]);
        everythingHolds();
    }
}
