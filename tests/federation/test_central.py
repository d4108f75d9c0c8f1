"""Central training: the same stages and budget as a federation's, one cohort, no chain."""

import itertools

import pytest

from fedchest.aggregation.model import parse_model
from fedchest.errors import BudgetError, StoreError, UnboundedLossError
from fedchest.federation.central import resume_centrally, train_centrally
from fedchest.federation.directory import RunDirectory
from fedchest.federation.run_model import load_run_model

pytestmark = pytest.mark.e2e

DP = {"dp": True, "reproducible_noise": True, "spare_rounds": 0}


def models_of(run):
    return {path.name: path.read_bytes() for path in sorted(RunDirectory(run).models.iterdir())}


def changed(before, after):
    """The names of the parameters that differ between two models' bytes."""
    old, new = parse_model(before), parse_model(after)
    return {name for name in old if (old[name] != new[name]).any()}


def test_an_interrupted_training_goes_on_from_its_last_round(make_settings, tmp_path):
    def settings(name):
        return make_settings(
            training={"rounds": 3}, privacy={**DP, "epsilon_ledger": tmp_path / f"{name}-epsilon"}
        )

    whole = train_centrally(settings("whole"), tmp_path / "whole", lambda stage: None)
    assert whole.complete

    def stop(stage):
        if (tmp_path / "part" / "models" / "round-000.safetensors").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_centrally(settings("part"), tmp_path / "part", stop)
    part = resume_centrally(tmp_path / "part", lambda stage: None)
    assert part.complete
    assert models_of(tmp_path / "part") == models_of(tmp_path / "whole")
    assert load_run_model(RunDirectory(tmp_path / "part")).round == 3


def test_each_stage_trains_its_own_part(make_settings, tmp_path):
    settings = make_settings(training={"rounds": 4, "trainable": "gradual"})
    results = train_centrally(settings, tmp_path / "run", lambda stage: None)
    assert [one.trained for one in results.rounds] == ["head", "last-scale", "last-two-scales", "all"]
    models = list(models_of(tmp_path / "run").values())
    moved = [changed(before, after) for before, after in itertools.pairwise(models)]
    assert moved[0]
    assert not any(name.startswith("encoder.") for name in moved[0])
    assert moved[0] < moved[1] < moved[2] < moved[3]


def test_the_budget_ends_a_training(make_settings, tmp_path):
    settings = make_settings(training={"rounds": 2}, privacy={**DP, "epsilon": 4.0})
    results = train_centrally(settings, tmp_path / "first", lambda stage: None)
    assert results.epsilon is not None
    assert results.epsilon <= 4.0
    with pytest.raises(BudgetError, match=r"2 more rounds would .* budget is 4\.00 \(privacy\.budget\)"):
        train_centrally(settings, tmp_path / "second", lambda stage: None)
    again = resume_centrally(tmp_path / "first", lambda stage: None)
    assert again.epsilon == results.epsilon, "nothing was charged for what was refused"


def test_private_training_starts_from_no_weights_that_saw_its_patients_without_noise(make_settings, tmp_path):
    def run(name, **settings):
        train_centrally(make_settings(**settings), tmp_path / name, lambda stage: None)
        return tmp_path / name / "models" / "round-001.safetensors"

    unnoised = run("unnoised")
    with pytest.raises(UnboundedLossError, match=r"model\.weights = .*without DP"):
        run("private", model={"weights": unnoised}, privacy=DP)
    link = tmp_path / "link.safetensors"
    link.symlink_to(unnoised)
    with pytest.raises(UnboundedLossError, match=r"model\.weights = .*without DP"):
        run("private", model={"weights": link}, privacy=DP)
    noised = run("noised", privacy={**DP, "epsilon": 2.0})
    run("private", model={"weights": noised}, privacy={**DP, "budget": 20.0})
    run("open", model={"weights": unnoised})


def test_a_federations_run_is_no_central_training(make_federation):
    federation = make_federation()
    with pytest.raises(StoreError, match="not a central training"):
        resume_centrally(federation.directory.root, lambda stage: None)
