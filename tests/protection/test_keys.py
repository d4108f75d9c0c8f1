"""Secret files: only their owner reads them, none is overwritten, and no message shows what they hold."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fedchest.errors import ConfigError, KeyFileError
from fedchest.protection.keys import (
    create_sealing_key,
    decode_public_key,
    encode_public_key,
    load_sealing_key,
    read_secret,
    write_secret,
)


def test_a_created_key_is_loaded_again_and_is_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "coordinator.pem"
    key = create_sealing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_sealing_key(path).private_bytes_raw() == key.private_bytes_raw()


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    create_sealing_key(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match=r"key\.pem exists"):
        create_sealing_key(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    create_sealing_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"key\.pem is open to others"):
        load_sealing_key(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nowhere\.pem can't be read"):
        read_secret(tmp_path / "nowhere.pem")


def test_what_is_no_sealing_key_is_refused_without_being_shown(tmp_path: Path) -> None:
    ed25519 = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    encrypted = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    for number, content in enumerate((b"", b"secret words", ed25519, encrypted)):
        path = tmp_path / f"{number}.pem"
        write_secret(path, content)
        with pytest.raises(KeyFileError, match=rf"{number}\.pem holds no") as caught:
            load_sealing_key(path)
        assert "secret" not in str(caught.value)


def test_public_keys_round_trip() -> None:
    key = X25519PrivateKey.generate().public_key()
    assert decode_public_key(encode_public_key(key)).public_bytes_raw() == key.public_bytes_raw()


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_a_malformed_public_key_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        decode_public_key(text)
