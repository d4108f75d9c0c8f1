"""The file that remembers what a patient cohort has spent, whatever run, study or retry spent it.

A directory belongs to one institution. It holds a random key, and one owner-only file for each patient cohort
that was ever trained on: the cohort's patients, as digests under the key, and the charges against them. Epsilon
belongs to patients: a patient who is in several cohorts has spent the composition of all their charges, and a
cohort has spent what its most charged patient has.
"""

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from fedchest.accounting.prv import MICRO, Charge, epsilon, micro
from fedchest.errors import BudgetError, DataError
from fedchest.files import OWNER_ONLY, write_atomically

_KEY = "patients.key"
_KEY_BYTES = 32
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Entry:
    """A reservation: what is charged, and a label that says for what (such as study and round)."""

    charge: Charge
    label: str


@dataclass(frozen=True, eq=False)
class _CohortFile:
    patients: frozenset[str]
    entries: tuple[Entry, ...]


class CohortLedger:
    """What the patients of one cohort have spent. Charges are only ever added; none is refunded."""

    def __init__(self, path: Path, patients: frozenset[str]) -> None:
        """The ledger file `path` of the patients with these digests; use `open`, which finds it and locks it."""
        self.path = path
        self._patients = patients

    @classmethod
    @contextmanager
    def open(cls, directory: Path, patients: Iterable[str]) -> Iterator[Self]:
        """The ledger of `patients` (their identifiers, in any order) in `directory`; both are made when absent.

        No other process can open a ledger of the directory until the block ends. Raises DataError when there is
        no patient, BudgetError when the cohort's file or the directory's key is damaged.
        """
        with _locked(directory):
            key = _key_of(directory)
            digests = frozenset(_digest(key, patient) for patient in patients)
            if not digests:
                raise DataError("A cohort without patients has no privacy ledger.")
            ledger = cls(directory / f"{_cohort_id(key, digests)}.json", digests)
            if not ledger.path.exists():
                ledger._write(())
            ledger.entries()
            yield ledger

    def entries(self) -> tuple[Entry, ...]:
        """This cohort's own reservations, oldest first. Raises BudgetError when its file is gone or damaged."""
        return _read(self.path).entries

    def epsilon(self, delta: float) -> float:
        """What the cohort's most charged patient has spent, over all cohorts of the directory."""
        return self._epsilon(delta, ())

    def epsilon_after(self, charge: Charge, delta: float) -> float:
        """What `epsilon` would be once `charge` is reserved; nothing is reserved."""
        return self._epsilon(delta, (charge,))

    def reserve(self, charge: Charge, label: str) -> None:
        """Charge the cohort, before it is trained on, and flush that to disk. A retry reserves again.

        That a kill between reserving and training loses nothing is tested in
        `tests/accounting/test_cohort_ledger.py` by `test_a_reservation_survives_a_kill`.
        """
        self._write((*self.entries(), Entry(charge, label)))

    def require_at_least(self, spent_micro: int, delta: float) -> None:
        """Raise BudgetError when the files know of less than `spent_micro`, the micro-epsilon on chain."""
        known = micro(self.epsilon(delta))
        if known < spent_micro:
            raise BudgetError(
                f"{self.path} is missing charges: it adds up to epsilon {known / MICRO:.6f}, but the chain "
                f"records {spent_micro / MICRO:.6f}; restore the institution's own copy before training."
            )

    def _epsilon(self, delta: float, extra: tuple[Charge, ...]) -> float:
        others = [
            cohort
            for path in sorted(self.path.parent.glob("*.json"))
            if path != self.path and (cohort := _read(path)).patients & self._patients
        ]
        # Patients who are in the same cohorts have spent the same, so each such group is composed once.
        groups = {
            tuple(cohort for cohort in others if patient in cohort.patients) for patient in self._patients
        }
        own = (*(entry.charge for entry in self.entries()), *extra)
        return max(
            epsilon((*own, *(entry.charge for cohort in group for entry in cohort.entries)), delta)
            for group in groups
        )

    def _write(self, entries: tuple[Entry, ...]) -> None:
        body = {
            "patients": sorted(self._patients),
            "charges": [{**asdict(entry.charge), "label": entry.label} for entry in entries],
        }
        content = {"checksum": _checksum(body), **body}
        write_atomically(self.path, json.dumps(content, indent=1).encode(), mode=OWNER_ONLY)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _key_of(directory: Path) -> bytes:
    """The directory's key, drawn on first use. A new key beside old files would unlink them from their patients."""
    path = directory / _KEY
    if not path.exists():
        if any(directory.glob("*.json")):
            raise BudgetError(
                f"{path} is missing, without which the ledger files beside it can't be matched."
            )
        write_atomically(path, os.urandom(_KEY_BYTES), mode=OWNER_ONLY)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise BudgetError(f"{path} is damaged: it does not hold {_KEY_BYTES} bytes.")
    return key


def _digest(key: bytes, patient: str) -> str:
    return hmac.digest(key, patient.encode(), "sha256")[:_DIGEST_BYTES].hex()


def _cohort_id(key: bytes, patients: frozenset[str]) -> str:
    return hmac.digest(key, "\n".join(sorted(patients)).encode(), "sha256").hex()


def _read(path: Path) -> _CohortFile:
    try:
        content = json.loads(path.read_bytes())
        body = {name: content[name] for name in ("patients", "charges")}
        if content["checksum"] != _checksum(body):
            raise BudgetError(f"{path} is damaged: its content does not match its checksum.")
        return _CohortFile(frozenset(body["patients"]), tuple(_entry(charge) for charge in body["charges"]))
    except FileNotFoundError:
        raise BudgetError(f"{path} is missing: what the cohort has spent is unknown.") from None
    except (ValueError, KeyError, TypeError):
        raise BudgetError(f"{path} is damaged: it is not a privacy ledger.") from None


def _entry(stored: Mapping[str, float | int | str]) -> Entry:
    charge = Charge(float(stored["noise_multiplier"]), float(stored["sampling_rate"]), int(stored["steps"]))
    return Entry(charge, str(stored["label"]))


def _checksum(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
