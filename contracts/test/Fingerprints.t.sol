// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fingerprint} from "../src/Fingerprint.sol";
import {vm} from "./Vm.sol";

/// @title Fingerprints against arithmetic written out number by number.
contract FingerprintsTest {
    bool public constant IS_TEST = true;

    uint256 private constant MODULUS = 2305843009213693951;

    function fingerprint(uint64[3] memory numbers) private pure returns (bytes24) {
        return bytes24(bytes.concat(bytes8(numbers[0]), bytes8(numbers[1]), bytes8(numbers[2])));
    }

    function checked(bytes24 content) external pure {
        Fingerprint.check(content);
    }

    function test_largestNumberIsOneBelowTheModulus() public {
        this.checked(fingerprint([uint64(MODULUS - 1), uint64(MODULUS - 1), uint64(MODULUS - 1)]));
        bytes24 content = fingerprint([uint64(0), uint64(MODULUS), uint64(0)]);
        vm.expectRevert(abi.encodeWithSelector(Fingerprint.InvalidFingerprint.selector, content));
        this.checked(content);
    }

    function testFuzz_formIsCanonical(uint64[3] memory numbers) public view {
        bool sound = numbers[0] < MODULUS && numbers[1] < MODULUS && numbers[2] < MODULUS;
        try this.checked(fingerprint(numbers)) {
            require(sound, "taken");
        } catch {
            require(!sound, "refused");
        }
    }

    function testFuzz_sumIsOfEachNumber(uint64[3] memory total, uint64[3] memory share, uint16 weight) public pure {
        uint64[3] memory expected;
        for (uint256 i = 0; i < 3; ++i) {
            (total[i], share[i]) = (uint64(total[i] % MODULUS), uint64(share[i] % MODULUS));
            expected[i] = uint64(addmod(total[i], mulmod(share[i], weight, MODULUS), MODULUS));
        }
        require(Fingerprint.add(fingerprint(total), fingerprint(share), weight) == fingerprint(expected), "the sum");
    }

    /// @dev The order in which shares come in changes nothing.
    function testFuzz_orderDoesNotMatter(uint64[3] memory one, uint64[3] memory two, uint16 w, uint16 v) public pure {
        for (uint256 i = 0; i < 3; ++i) (one[i], two[i]) = (uint64(one[i] % MODULUS), uint64(two[i] % MODULUS));
        (bytes24 a, bytes24 b) = (fingerprint(one), fingerprint(two));
        require(Fingerprint.add(Fingerprint.add(0, a, w), b, v) == Fingerprint.add(Fingerprint.add(0, b, v), a, w));
    }
}
