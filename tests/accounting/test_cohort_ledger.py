"""What a cohort has spent survives restarts, kills and other studies, and is never silently forgotten."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedchest.accounting.cohort_ledger import CohortLedger
from fedchest.accounting.prv import Charge, epsilon, micro
from fedchest.errors import BudgetError, DataError

DELTA = 1e-5
CHARGE = Charge(1.5, 0.2, 10)
OTHER = Charge(2.5, 0.1, 7)
PATIENTS = ["patient00001", "patient00002", "patient00003"]


def spend(directory: Path, patients: list[str], *charges: Charge) -> Path:
    with CohortLedger.open(directory, patients) as ledger:
        for number, charge in enumerate(charges):
            ledger.reserve(charge, f"round {number}")
        return ledger.path


def spent(directory: Path, patients: list[str]) -> float:
    with CohortLedger.open(directory, patients) as ledger:
        return ledger.epsilon(DELTA)


def test_charges_add_up_over_restarts_and_in_any_order_of_patients(tmp_path: Path) -> None:
    assert spent(tmp_path, PATIENTS) == 0
    spend(tmp_path, PATIENTS, CHARGE)
    spend(tmp_path, PATIENTS[::-1], CHARGE)
    assert spent(tmp_path, PATIENTS) == epsilon([CHARGE, CHARGE], DELTA)


def test_a_look_ahead_reserves_nothing(tmp_path: Path) -> None:
    with CohortLedger.open(tmp_path, PATIENTS) as ledger:
        assert ledger.epsilon_after(CHARGE, DELTA) == epsilon([CHARGE], DELTA)
        assert ledger.epsilon(DELTA) == 0
        ledger.reserve(CHARGE, "round 1")
        assert [entry.label for entry in ledger.entries()] == ["round 1"]


def test_overlapping_cohorts_compose_for_the_patients_they_share(tmp_path: Path) -> None:
    spend(tmp_path, ["a", "b"], CHARGE)
    spend(tmp_path, ["b", "c"], OTHER)
    both, alone = epsilon([CHARGE, OTHER], DELTA), epsilon([CHARGE], DELTA)
    assert spent(tmp_path, ["a", "b"]) == spent(tmp_path, ["b", "c"]) == spent(tmp_path, ["b"]) == both
    assert spent(tmp_path, ["a"]) == alone
    assert spent(tmp_path, ["d"]) == 0


def test_the_most_charged_patient_counts(tmp_path: Path) -> None:
    spend(tmp_path, ["a"], CHARGE)
    spend(tmp_path, ["b"], OTHER)
    assert spent(tmp_path, ["a", "b"]) == max(epsilon([CHARGE], DELTA), epsilon([OTHER], DELTA))


def test_a_reservation_survives_a_kill(tmp_path: Path) -> None:
    """The process is killed between reserving and training: the charge is on disk."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from fedchest.accounting.cohort_ledger import CohortLedger\n"
        "from fedchest.accounting.prv import Charge\n"
        "with CohortLedger.open(Path(sys.argv[1]), sys.argv[2:]) as ledger:\n"
        "    ledger.reserve(Charge(1.5, 0.2, 10), 'round 1')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), *PATIENTS], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert spent(tmp_path, PATIENTS) == epsilon([CHARGE], DELTA)


def test_the_file_is_for_its_owner_and_names_no_patient(tmp_path: Path) -> None:
    path = spend(tmp_path, PATIENTS, CHARGE)
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
        assert not any(patient.encode() in file.read_bytes() for patient in PATIENTS)
    assert not any(patient in path.name for patient in PATIENTS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"[]",
        lambda content: content.replace(b'"steps": 10', b'"steps": 1'),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_not_restarted(tmp_path: Path, damage) -> None:
    path = spend(tmp_path, PATIENTS, CHARGE)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(BudgetError, match=path.name), CohortLedger.open(tmp_path, PATIENTS):
        pass
    assert path.read_bytes() == damaged


def test_a_damaged_neighbour_is_refused_too(tmp_path: Path) -> None:
    path = spend(tmp_path, ["b", "c"], CHARGE)
    path.write_bytes(b"{}")
    with pytest.raises(BudgetError, match=path.name):
        spent(tmp_path, ["a", "b"])


def test_a_lost_key_is_refused_because_patients_could_not_be_matched(tmp_path: Path) -> None:
    spend(tmp_path, PATIENTS, CHARGE)
    (tmp_path / "patients.key").unlink()
    with pytest.raises(BudgetError, match=r"patients\.key"):
        spent(tmp_path, PATIENTS)


def test_a_missing_or_older_file_is_noticed_from_the_chain(tmp_path: Path) -> None:
    path = spend(tmp_path, PATIENTS, CHARGE)
    older = path.read_bytes()
    spend(tmp_path, PATIENTS, CHARGE)
    on_chain = micro(spent(tmp_path, PATIENTS))
    with CohortLedger.open(tmp_path, PATIENTS) as ledger:
        ledger.require_at_least(on_chain, DELTA)
    path.write_bytes(older)
    with CohortLedger.open(tmp_path, PATIENTS) as ledger, pytest.raises(BudgetError, match="missing charges"):
        ledger.require_at_least(on_chain, DELTA)
    path.unlink()
    with CohortLedger.open(tmp_path, PATIENTS) as ledger, pytest.raises(BudgetError, match="missing charges"):
        ledger.require_at_least(on_chain, DELTA)


def test_a_cohort_without_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError), CohortLedger.open(tmp_path, []):
        pass


def test_two_writers_lose_no_charge(tmp_path: Path) -> None:
    def reserve() -> None:
        for _ in range(5):
            spend(tmp_path, PATIENTS, CHARGE)

    writers = [threading.Thread(target=reserve) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with CohortLedger.open(tmp_path, PATIENTS) as ledger:
        assert len(ledger.entries()) == 15


def test_the_stored_charge_is_plain_json(tmp_path: Path) -> None:
    stored = json.loads(spend(tmp_path, PATIENTS, CHARGE).read_bytes())
    assert stored["charges"] == [
        {"noise_multiplier": 1.5, "sampling_rate": 0.2, "steps": 10, "label": "round 0"}
    ]
