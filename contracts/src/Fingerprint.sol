// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Fingerprints: three numbers modulo 2^61 - 1, each in 8 bytes, big-endian.
/// @notice A fingerprint is a vector of integers read as a polynomial and evaluated at three points. It is linear, so
/// fingerprints of updates add up to the fingerprint of their sum; docs/protocol.md says what follows from that.
library Fingerprint {
    uint256 private constant MODULUS = (1 << 61) - 1;
    uint256 private constant LANE = type(uint64).max;
    uint256 private constant LANE_BITS = 64;
    uint256 private constant BITS = 3 * LANE_BITS;

    error InvalidFingerprint(bytes24 fingerprint);

    /// @notice Refuse what is not in the one canonical form, with every number below the modulus.
    function check(bytes24 fingerprint) internal pure {
        uint256 lanes = uint192(fingerprint);
        for (uint256 shift = 0; shift < BITS; shift += LANE_BITS) {
            if ((lanes >> shift) & LANE >= MODULUS) revert InvalidFingerprint(fingerprint);
        }
    }

    /// @notice `total` plus `weight` times `share`, number by number; both are in canonical form.
    function add(bytes24 total, bytes24 share, uint16 weight) internal pure returns (bytes24) {
        uint256 totals = uint192(total);
        uint256 shares = uint192(share);
        uint256 sum = 0;
        for (uint256 shift = 0; shift < BITS; shift += LANE_BITS) {
            uint256 lane = ((totals >> shift) & LANE) + ((shares >> shift) & LANE) * weight;
            sum |= (lane % MODULUS) << shift;
        }
        return bytes24(uint192(sum));
    }
}
