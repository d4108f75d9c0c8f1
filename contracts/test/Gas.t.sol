// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title What each party's transactions use after the first round, in studies of different sizes.
/// @notice Run by the profile `gas`, in which every call is a transaction of its own, as it is on a chain.
contract GasTest is Study {
    uint256 private constant MOST = 70_000;

    function setUp() public override {}

    function test_studyOf2() public {
        measure(2, "2-institutions");
    }

    function test_studyOf4() public {
        measure(4, "4-institutions");
    }

    function test_studyOf16() public {
        measure(16, "16-institutions");
    }

    function test_studyOf64() public {
        measure(64, "64-institutions");
    }

    function test_studyOf256() public {
        measure(256, "256-institutions");
    }

    function measure(uint16 size, string memory group) private {
        IFedChestLedger.Rules memory rules = standard();
        rules.founders = size;
        found(rules);
        play(size);
        open();
        vm.snapshotGasLastCall(group, "openRound");
        submit(0);
        require(vm.snapshotGasLastCall(group, "submitUpdate, first of the round") <= MOST, "above the aim");
        relay(1);
        vm.snapshotGasLastCall(group, "submitUpdateFor");
        ledger.abandonRound(2, noRefusals());
        open();
        submit(0);
        submit(1);
        require(vm.snapshotGasLastCall(group, "submitUpdate") <= MOST, "above the aim");
        for (uint16 id = 2; id < size; ++id) submit(id);
        propose(first(size));
        vm.snapshotGasLastCall(group, "proposeAggregate");
        for (uint16 id = 0; id < size; ++id) {
            attest(id);
            if (id == size - 2) vm.snapshotGasLastCall(group, "attest");
        }
        vm.snapshotGasLastCall(group, "attest, the one that finalizes");
    }

    function relay(uint16 id) private {
        IFedChestLedger.Submission memory made = submission(id);
        ledger.submitUpdateFor(made, signature(made, key(id)));
    }

    function play(uint16 size) private {
        open();
        submit(0);
        require(vm.snapshotGasLastCall("first-round", "submitUpdate") <= MOST, "above the aim");
        for (uint16 id = 1; id < size; ++id) submit(id);
        propose(first(size));
        for (uint16 id = 0; id < size; ++id) attest(id);
    }
}
