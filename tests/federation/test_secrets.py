"""No key, path, patient or exception text crosses a hospital's border: every byte that does is searched for them."""

import json
import shutil
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flwr.common.serde import recorddict_to_proto
from small_federation import SmallFederation, founded, small_settings

from fedchest.federation.directory import (
    JOURNAL,
    SEALING_KEY,
    SITE,
    WALLET,
    SiteDocument,
    read_document,
    write_document,
)
from fedchest.federation.engines.in_process import InProcessGrid
from fedchest.ledger.records import Phase
from fedchest.ledger.wallet import Wallet
from fedchest.protection.keys import load_sealing_key
from fedchest.refusals import Reason

pytestmark = pytest.mark.e2e

FAULTY = 3


@dataclass(frozen=True)
class Searched:
    """A run that has ended, and everything that was sent in it, as the bytes on the wire."""

    federation: SmallFederation
    messages: list[bytes]

    def sites(self) -> list[Path]:
        return self.federation.directory.institutions()

    def public(self) -> Iterator[tuple[str, bytes]]:
        """Whatever somebody else than its owner can read: messages, artifacts, the chain."""
        yield from ((f"message {number}", content) for number, content in enumerate(self.messages))
        directory = self.federation.directory
        for folder in (directory.artifacts.directory, directory.chain):
            yield from (
                (str(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()
            )
        records = (directory.chain / JOURNAL).read_bytes().splitlines()
        for number, record in enumerate(records, start=1):
            transactions = json.loads(record)["transactions"]
            yield f"block {number}", b"".join(bytes.fromhex(raw.removeprefix("0x")) for raw in transactions)

    def at_the_coordinator(self) -> Iterator[tuple[str, bytes]]:
        """The coordinator's own folder, where no hospital's secret may lie."""
        folder = self.federation.directory.coordinator
        yield from ((str(path), path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory, cohort_folder: Path, image_cache: Path
) -> Iterator[Searched]:
    """A run of 4 hospitals with DP on, of which one has lost its images: its fault has a path in its text."""
    out = tmp_path_factory.mktemp("secrets") / "run"
    heard: list[bytes] = []
    honest = InProcessGrid.send_and_receive

    def listening(self, messages, *, timeout=None):
        sent = list(messages)
        replies = list(honest(self, sent, timeout=timeout))
        heard.extend(recorddict_to_proto(one.content).SerializeToString() for one in [*sent, *replies])
        return replies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InProcessGrid, "send_and_receive", listening)
        settings = small_settings(cohort_folder, out, image_cache, {"privacy": {"dp": True}})
        with founded(settings) as federation:
            site = federation.directory.institution(FAULTY) / SITE
            document = read_document(site, SiteDocument)
            write_document(site, document.model_copy(update={"data": Path("/hospital/ward-7/images")}))
            federation.run()
            assert federation.state().phase is Phase.FINALIZED
            assert federation.refusals() == {FAULTY: Reason.SITE_FAULT}
        yield Searched(federation, heard)
    shutil.rmtree(out.parent)


def assert_absent(needles: dict[str, bytes], places: Iterator[tuple[str, bytes]]) -> None:
    """None of `needles` is in `places`, neither raw nor in hexadecimal digits nor in base 64 from its start."""
    count = 0
    for place, content in places:
        count += 1
        lowered = content.lower()
        for name, needle in needles.items():
            assert needle not in content, f"{name} is in {place}"
            assert needle.hex().encode() not in lowered, f"{name} is in {place}"
            assert b64encode(needle)[:-4] not in content, f"{name} is in {place}"
    assert count > 0


def hospital_secrets(searched: Searched) -> dict[str, bytes]:
    found = {}
    for site in searched.sites():
        found[f"wallet of {site.name}"] = bytes.fromhex((site / WALLET).read_text())
        for salt in site.rglob("salt"):
            found[f"salt of {site.name}"] = salt.read_bytes()
        for update in site.rglob("*.update"):
            found[f"update of {site.name}"] = update.read_bytes()[-512:]
    document = read_document(searched.sites()[0] / SITE, SiteDocument)
    assert document.randomness_secret is not None
    found["simulation secret"] = document.randomness_secret.read_bytes()
    found["key of the epsilon ledgers"] = (document.epsilon_ledger / "patients.key").read_bytes()
    assert len(found) == 4 + 3 + 3 + 2
    return found


def hospital_words(searched: Searched) -> dict[str, bytes]:
    documents = [read_document(site / SITE, SiteDocument) for site in searched.sites()]
    return {
        "lost folder": b"ward-7",
        "exception text": b"DataError",
        "traceback": b"Traceback",
        "hospital's folder": str(searched.sites()[0].parent).encode(),
        "epsilon ledger": str(documents[0].epsilon_ledger).encode(),
        **{patient: patient.encode() for document in documents for patient in document.patients},
    }


def test_the_fault_is_in_the_hospitals_own_log(searched):
    log = (searched.sites()[FAULTY] / "site.log").read_text()
    assert "ward-7" in log
    assert "DataError" in log


@pytest.mark.parametrize("place", [Searched.public, Searched.at_the_coordinator])
def test_no_secret_of_a_hospital_leaves_it(searched, place):
    assert_absent(hospital_secrets(searched), place(searched))


@pytest.mark.parametrize("place", [Searched.public, Searched.at_the_coordinator])
def test_no_path_patient_or_fault_of_a_hospital_leaves_it(searched, place):
    assert_absent(hospital_words(searched), place(searched))


def test_no_key_of_coordinator_or_auditor_is_public(searched):
    directory = searched.federation.directory
    keys = {
        "wallet of the coordinator": bytes.fromhex((directory.coordinator / WALLET).read_text()),
        **{
            f"sealing key of {folder.name}": load_sealing_key(folder / SEALING_KEY).private_bytes_raw()
            for folder in (directory.coordinator, directory.auditor)
        },
    }
    assert_absent(keys, searched.public())


def test_the_search_finds_what_is_there(searched):
    """The wallets' addresses and the sealed updates are public: the same search must see them."""
    address = Wallet.load(searched.sites()[0] / WALLET).address
    with pytest.raises(AssertionError, match="address is in"):
        assert_absent({"address": bytes.fromhex(address[2:])}, searched.public())


def test_secrets_are_readable_by_their_owner_only(searched):
    folders = searched.federation.directory.parties()
    files = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".key", ".log", ".update")
    ]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
