// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title Credits by contribution score, where the rules say so.
contract ScoresTest is Study {
    function setUp() public override {
        IFedChestLedger.Rules memory rules = standard();
        rules.byContribution = true;
        found(rules);
        open();
        submitAll();
    }

    function proposeScored(uint32[] memory scores) private {
        ledger.proposeAggregate(1, proposal(first(4)), first(4), scores, noRefusals());
    }

    function finish() private {
        for (uint16 id = 0; id < 4; ++id) attest(id);
        expectPhase(1, IFedChestLedger.Phase.Finalized);
    }

    function test_creditsAreSplitByScore() public {
        uint32[] memory scores = new uint32[](4);
        (scores[0], scores[2], scores[3]) = (500, 1, 999);
        proposeScored(scores);
        require(keccak256(abi.encode(ledger.scores(1))) == keccak256(abi.encode(scores)), "on record");
        bytes memory proposed = abi.encode(proposal(first(4)), first(4), scores);
        require(ledger.round(1).proposal == keccak256(proposed), "what is voted on");
        finish();
        require(ledger.institution(0).credits == 333_333 && ledger.institution(1).credits == 0, "by score");
        require(ledger.institution(2).credits == 666 && ledger.institution(3).credits == 666_000, "by score");
    }

    function test_scoresOfZeroLeaveTheWeightClasses() public {
        proposeScored(new uint32[](4));
        finish();
        for (uint16 id = 0; id < 4; ++id) require(ledger.institution(id).credits == 100_000 * (id + 1), "credits");
    }

    function test_oneScoreForEachAccepted() public {
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongScores.selector, 3, 4));
        proposeScored(new uint32[](3));
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongScores.selector, 0, 4));
        proposeScored(noScores());
    }

    function test_noScoresWhereCreditsGoByWeightClass() public {
        found(standard());
        open();
        submitAll();
        vm.expectRevert(abi.encodeWithSelector(IFedChestLedger.WrongScores.selector, 4, 0));
        proposeScored(new uint32[](4));
    }

    /// @dev Whatever the scores, a round gives out its credits but for less than one for each accepted.
    function testFuzz_creditsAreConserved(uint32[4] calldata given) public {
        uint32[] memory scores = new uint32[](4);
        uint256 total;
        for (uint256 i = 0; i < 4; ++i) total += scores[i] = given[i];
        vm.assume(total != 0);
        proposeScored(scores);
        finish();
        uint256 credits;
        for (uint16 id = 0; id < 4; ++id) {
            uint64 amount = ledger.institution(id).credits;
            require(amount == uint256(CREDITS) * given[id] / total, "its part");
            credits += amount;
        }
        require(credits <= CREDITS && credits + 4 > CREDITS, "conserved");
    }
}
