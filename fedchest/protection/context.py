"""What an update belongs to: one chain, contract, round, institution and base model."""

from dataclasses import dataclass

from eth_utils.address import is_checksum_address, to_canonical_address

from fedchest.errors import ConfigError

_DOMAIN = b"fedchest/update-context/v1"
_UINT256_BYTES, _ID_BYTES = 32, 2
HASH_BYTES = 32


@dataclass(frozen=True)
class UpdateContext:
    """The one place where an update is valid.

    `contract` is a 0x-prefixed checksum address, `chain_id` and `round` are uint256, `institution` is its number
    on chain (uint16), which stays when its wallet changes, `base_model` is the SHA-256 (32 bytes) of the global
    model that training started from.
    Raises ConfigError when a field is not of that form.
    """

    chain_id: int
    contract: str
    round: int
    institution: int
    base_model: bytes

    def __post_init__(self) -> None:
        for name in ("chain_id", "round"):
            if not 0 <= getattr(self, name) < 1 << 8 * _UINT256_BYTES:
                raise ConfigError(f"The update's {name} is {getattr(self, name)}, which is not a uint256.")
        if not is_checksum_address(self.contract):
            raise ConfigError(f"The update's contract {self.contract!r} is not a checksum address.")
        if not 0 <= self.institution < 1 << 8 * _ID_BYTES:
            raise ConfigError(f"The update's institution is {self.institution}, which is not a uint16.")
        if len(self.base_model) != HASH_BYTES:
            raise ConfigError(f"The update's base model hash has {len(self.base_model)} bytes instead of 32.")

    def info(self) -> bytes:
        """The context in bytes: a domain tag and fields of fixed length, so that two contexts never collide.

        It is the HPKE info of the seal: a sealed update moved to another chain, contract, round, institution
        or model does not open (tests/protection/test_sealing.py::test_seal_opens_in_its_own_context_only).
        """
        return b"".join(
            (
                _DOMAIN,
                self.chain_id.to_bytes(_UINT256_BYTES, "big"),
                to_canonical_address(self.contract),
                self.round.to_bytes(_UINT256_BYTES, "big"),
                self.institution.to_bytes(_ID_BYTES, "big"),
                self.base_model,
            )
        )
