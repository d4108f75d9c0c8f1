"""A signed bundle holds offline, and whatever is changed in it is refused: by the signature, or by what was signed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedchest.audit.bundle import Artifact, Bundle, check_bundle, write_bundle
from fedchest.audit.bundling import bundle_run
from fedchest.audit.signing import Signer, load_signer, signed_by
from fedchest.cli.main import fedchest
from fedchest.errors import ConfigError, KeyFileError, ProofError, StoreError
from fedchest.ledger.wallet import Wallet
from fedchest.protection.keys import create_sealing_key, write_secret

pytestmark = pytest.mark.e2e

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def wallet_key(folder: Path) -> Path:
    Wallet.create(folder / "wallet.key")
    return folder / "wallet.key"


def ed25519_key(folder: Path) -> Path:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(folder / "ed25519.pem", pem)
    return folder / "ed25519.pem"


@pytest.fixture(scope="module", params=[wallet_key, ed25519_key], ids=lambda make: make.__name__)
def signer(request, tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return load_signer(request.param(tmp_path_factory.mktemp("key")))


@pytest.fixture(scope="module")
def honest(finished_run, node, signer, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle.jsonl"
    bundle_run(finished_run, path, signer, with_artifacts=True, rpc_url=node)
    return path


@pytest.fixture
def lines(honest) -> list[bytes]:
    return honest.read_bytes().splitlines(keepends=True)


def test_a_bundle_holds_what_the_run_does(finished_run, node, signer, honest, tmp_path):
    bundle = check_bundle(honest)
    assert bundle.signer == signer.identity
    assert bundle.contained == bundle.artifacts > 0
    reported = json.loads(finished_run.results.read_bytes())["chain"]
    assert bundle.facts()["block_hash"] == "0x" + reported["head"]
    without = tmp_path / "hashes.jsonl"
    bundle_run(finished_run, without, signer, rpc_url=node)
    assert check_bundle(without).artifacts == bundle.artifacts
    assert check_bundle(without).contained == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_refused(honest, tmp_path, data):
    content = bytearray(honest.read_bytes())
    last = len(content) - content.rstrip(b"\n").rfind(b"\n")
    from_the_end = data.draw(st.booleans())
    position = data.draw(st.integers(len(content) - last if from_the_end else 0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    (tmp_path / "changed").write_bytes(content)
    with pytest.raises((ProofError, StoreError)):
        check_bundle(tmp_path / "changed")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines[:3], *lines[4:]],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines[:-2], lines[-1]],
        lambda lines: [*lines[:-1], lines[-1].replace(b":", b": ", 1)],
        lambda lines: lines[:1],
    ],
)
def test_lines_that_are_dropped_added_or_moved(lines, tmp_path, change: Callable[[list[bytes]], list[bytes]]):
    (tmp_path / "changed").write_bytes(b"".join(change(lines)))
    with pytest.raises(ProofError, match="signature"):
        check_bundle(tmp_path / "changed")


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"format":"fedchest/inclusion-proof/v1"}\n'])
def test_what_is_no_bundle(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="is no signed bundle"):
        check_bundle(tmp_path / "file")
    with pytest.raises(StoreError, match="can't be read"):
        check_bundle(tmp_path / "absent")


# Signed again by a signer who lies: the chain itself contradicts.


def signed_again(honest: Path, path: Path, signer: Signer, **changes) -> Path:
    bundle = check_bundle(honest)
    artifacts = [json.loads(line) for line in honest.read_bytes().splitlines()[len(bundle.blocks) + 1 : -1]]
    facts = {
        "chain_id": bundle.chain_id,
        "contract": bundle.contract,
        "study": bundle.study,
        "blocks": bundle.blocks,
        "artifacts": [Artifact(bytes.fromhex(a["sha256"][2:]), a["bytes"], None) for a in artifacts],
    }
    write_bundle(path, signer, **{**facts, **changes})
    return path


def without_an_event(bundle: Bundle) -> dict[str, object]:
    """A block in the place of the one after it."""
    return {"blocks": [*bundle.blocks[:-2], bundle.blocks[-3], bundle.blocks[-1]]}


def with_other_receipts(bundle: Bundle) -> dict[str, object]:
    last = bundle.blocks[-1]
    return {"blocks": [*bundle.blocks[:-1], type(last)(last.encoded_header, last.raw_transactions, ())]}


LIES = {
    "a block left out": (without_an_event, "block .*: its number is another"),
    "receipts left out": (with_other_receipts, "the root of its receipts is another"),
    "another chain": (lambda bundle: {"chain_id": 1}, "another commitment than follows"),
    "another contract": (lambda bundle: {"contract": "0x" + "11" * 20}, "was not created"),
    "another study": (lambda bundle: {"study": b"?" * 32}, "names another block or study"),
    "no artifacts": (lambda bundle: {"artifacts": []}, "does not list"),
    "an artifact twice": (
        lambda bundle: {"artifacts": [Artifact(bytes(32), None, None)] * 2},
        "twice, or out of order",
    ),
    "other content": (
        lambda bundle: {"artifacts": [Artifact(bytes(32), 1, b"?")]},
        "does not hash to it",
    ),
}


@pytest.mark.parametrize(("lie", "what"), LIES.values(), ids=LIES.keys())
def test_a_signer_that_lies_is_contradicted_by_the_chain(honest, signer, tmp_path, lie, what):
    path = signed_again(honest, tmp_path / "lie", signer, **lie(check_bundle(honest)))
    with pytest.raises(ProofError, match=what):
        check_bundle(path)


# Signatures and keys.


def test_the_other_form_of_a_wallets_signature_is_none(tmp_path):
    """Of an ECDSA signature anyone can make a second one; taking both would let a signed file change."""
    signer = load_signer(wallet_key(tmp_path))
    signature = signer.sign(b"message")
    assert signed_by(signer.scheme, signer.identity, b"message", signature)
    assert not signed_by(signer.scheme, signer.identity, b"other", signature)
    s, v = int.from_bytes(signature[32:64]), signature[64]
    other = signature[:32] + (ORDER - s).to_bytes(32) + bytes([55 - v])
    assert not signed_by(signer.scheme, signer.identity, b"message", other)
    assert not signed_by("none", signer.identity, b"message", signature)


def test_a_key_of_another_kind_does_not_sign(tmp_path):
    create_sealing_key(tmp_path / "sealing.key")
    with pytest.raises(KeyFileError, match="no unencrypted Ed25519"):
        load_signer(tmp_path / "sealing.key")
    write_secret(tmp_path / "nonsense", b"nonsense")
    with pytest.raises(KeyFileError):
        load_signer(tmp_path / "nonsense")


# Commands.


def invoke(*arguments: object):
    return CliRunner().invoke(fedchest, ["audit", *map(str, arguments)], standalone_mode=False)


def test_export_and_check_by_command(finished_run, node, tmp_path):
    key, out = wallet_key(tmp_path), tmp_path / "bundle"
    exported = invoke(
        "export",
        finished_run.root,
        "--bundle",
        "--sign",
        key,
        "--out",
        out,
        "--rpc",
        node,
        "--with-artifacts",
    )
    assert exported.exception is None, exported.output
    address = Wallet.load(key).address
    assert address in exported.output
    held = invoke("check-bundle", out, "--signer", address, "--json")
    assert held.return_value == 0
    assert json.loads(held.output)["signer"] == address
    assert "compare the signer" in invoke("check-bundle", out).output
    other = invoke("check-bundle", out, "--signer", "0x" + "11" * 20)
    assert other.return_value == 1
    assert f"is signed by {address}" in other.output
    out.write_bytes(out.read_bytes().replace(b'"block":', b'"block":1', 1))
    changed = invoke("check-bundle", out, "--json")
    assert changed.return_value == 1
    assert not json.loads(changed.output)["holds"]
    assert isinstance(invoke("check-bundle", tmp_path / "none").exception, StoreError)


@pytest.mark.parametrize(
    "options",
    [
        ["--bundle"],
        ["--bundle", "--out", "file"],
        ["--with-artifacts"],
        ["--bundle", "--json"],
        ["--bundle", "--round", "1"],
    ],
)
def test_options_that_do_not_go_together(finished_run, options):
    assert isinstance(invoke("export", finished_run.root, *options).exception, ConfigError)


def test_a_run_without_a_named_artifact_is_not_bundled(run, node, signer, lines, tmp_path):
    named = next(json.loads(line)["sha256"] for line in lines if b'"sha256"' in line)
    run.artifacts.path(bytes.fromhex(named[2:])).unlink()
    with pytest.raises(StoreError):
        bundle_run(run, tmp_path / "bundle", signer, with_artifacts=True, rpc_url=node)
