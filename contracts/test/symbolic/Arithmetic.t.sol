// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {FedChestLedger} from "../../src/FedChestLedger.sol";
import {IFedChestLedger} from "../../src/IFedChestLedger.sol";

/// @dev The contract with its quorum in the open.
contract OpenQuorum is FedChestLedger {
    constructor(IFedChestLedger.Rules memory rules_) FedChestLedger(rules_) {}

    function quorumOf(uint16 members) external view returns (uint16) {
        return _quorum(members);
    }
}

/// @title The quorum, for all numbers of members.
contract ArithmeticProofs {
    OpenQuorum private byzantine;
    OpenQuorum private crashOnly;

    function setUp() public {
        IFedChestLedger.Rules memory rules;
        (rules.founders, rules.submissionSeconds, rules.attestationSeconds, rules.minimumAccepted) = (1, 1, 1, 1);
        byzantine = new OpenQuorum(rules);
        rules.crashOnly = true;
        crashOnly = new OpenQuorum(rules);
    }

    /// @dev Any two quorums share more members than may lie, and those that don't lie are enough for one.
    function check_twoQuorumsShareAnHonestMember(uint16 members) public view {
        if (members == 0) return;
        uint256 quorum = byzantine.quorumOf(members);
        uint256 liars = (uint256(members) - 1) / 3;
        assert(2 * quorum > members + liars);
        assert(quorum <= members - liars);
    }

    function check_twoMajoritiesShareAMember(uint16 members) public view {
        if (members == 0) return;
        uint256 quorum = crashOnly.quorumOf(members);
        assert(2 * quorum > members && quorum <= members);
    }
}
