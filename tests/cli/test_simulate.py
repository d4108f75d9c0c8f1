"""The main job as a user runs it: what is printed, what is left behind, and what the audit's commands say of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedchest.cli.main import main
from fedchest.ledger.chain import LocalChain

pytestmark = pytest.mark.e2e

Fedchest = Callable[..., tuple[int, str]]


@pytest.fixture
def fedchest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fedchest:
    """Run a command; returns its exit status and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["fedchest", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_status:
            main()
        status = exit_status.value.code
        return (status if isinstance(status, int) else 1), capsys.readouterr().out

    return run


def test_from_a_folder_to_an_audited_model(cohort_folder: Path, tmp_path: Path, fedchest: Fedchest) -> None:
    run = tmp_path / "run"
    small = ("--image-size", 32, "--rounds", 1, "--steps", 1, "--delta", "1e-3", "--sampling-rate", 0.3)
    places = ("--out", run, "--epsilon-ledger", tmp_path / "epsilon", "--cache", tmp_path / "cache")
    status, printed = fedchest("simulate", "--data", cohort_folder, *small, *places, "--local-baselines")
    assert status == 0, printed
    assert printed.rstrip().splitlines()[-1] == str(run)
    assert "fingerprints add up to the sum's" in " ".join(printed.split())
    assert "The audit passed" in printed

    results = json.loads((run / "results.json").read_text())
    assert [figures["finalized"] for figures in results["rounds"]] == [True]
    assert all(0 < institution["epsilon"] <= 8 for institution in results["institutions"])
    assert all(institution["local_only_auroc"] is not None for institution in results["institutions"])
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (run / "models").iterdir()) == [
        "round-000.safetensors",
        "round-001.safetensors",
    ]
    provenance = json.loads((run / "provenance.json").read_text())
    assert {"seed", "versions", "git_revision"} <= provenance.keys()

    status, printed = fedchest("audit", "log", run, "--kind", "UpdateSubmitted", "--json")
    assert status == 0
    assert len(printed.splitlines()) == 4
    status, printed = fedchest("audit", "verify", run)
    assert status == 0

    status, printed = fedchest("simulate", "--resume", run, "--json")
    assert status == 0
    again = json.loads(printed)
    assert again["audit"]["passed"] is True
    assert [figures["model"] for figures in again["rounds"]] == [
        figures["model"] for figures in results["rounds"]
    ]


def test_without_a_public_set_nothing_is_measured(
    make_cohort_without_public_set: Path, tmp_path: Path, fedchest: Fedchest
) -> None:
    small = ("--image-size", 32, "--rounds", 1, "--steps", 1, "--no-dp", "--institutions", 2)
    status, printed = fedchest(
        "simulate", "--data", make_cohort_without_public_set, *small, "--out", tmp_path / "run"
    )
    assert status == 0, printed
    assert "not measured" in printed


def test_on_a_chain_that_runs_already(cohort_folder: Path, tmp_path: Path, fedchest: Fedchest) -> None:
    small = ("--image-size", 32, "--rounds", 1, "--steps", 1, "--no-dp", "--institutions", 2)
    with LocalChain(tmp_path / "node") as node:
        places = ("--rpc", node.rpc_url, "--out", tmp_path / "run", "--epsilon-ledger", tmp_path / "epsilon")
        status, printed = fedchest("simulate", "--data", cohort_folder, *small, *places)
    assert status == 0, printed
    assert "The audit passed" in printed


@pytest.fixture
def make_cohort_without_public_set(cohort_folder: Path, tmp_path: Path) -> Path:
    """The rendered cohort's training split alone."""
    source = next(cohort_folder.rglob("train.csv")).parent
    target = tmp_path / "data" / source.name
    target.mkdir(parents=True)
    (target / "train.csv").write_bytes((source / "train.csv").read_bytes())
    (target / "train").symlink_to(source / "train")
    return target
