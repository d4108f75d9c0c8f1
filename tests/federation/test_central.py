"""Central training: the same stages and budget as a federation's, one cohort, no chain."""

import itertools

import numpy as np
import pytest
from scipy.special import logit

from fedchest.aggregation.model import parse_model
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.errors import BudgetError, ConfigError, StoreError, UnboundedLossError
from fedchest.federation.central import resume_centrally, train_centrally
from fedchest.federation.directory import RunDirectory
from fedchest.federation.evaluation import PublicEvaluation, PublicFigures
from fedchest.federation.prepare import prepare
from fedchest.federation.run_model import load_run_model
from fedchest.federation.simulate import simulate
from fedchest.reporting.heatmaps import explain

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
    with pytest.raises(UnboundedLossError, match=r"leads back to .*/unnoised, .*without DP"):
        run("private", model={"weights": unnoised}, privacy=DP)
    link = tmp_path / "link.safetensors"
    link.symlink_to(unnoised)
    with pytest.raises(UnboundedLossError, match=r"leads back to .*/unnoised, .*without DP"):
        run("private", model={"weights": link}, privacy=DP)
    elsewhere = tmp_path / "elsewhere"
    write_phantom_cohort(elsewhere, patients=20, validation_patients=4, size=32, seed=5, sites=1)
    between = {"data": elsewhere, "cache": tmp_path / "cache"}
    laundered = run("laundered", data=between, model={"weights": unnoised})
    for start in (laundered, tmp_path / "unnoised" / "artifacts"):
        file = start if start.is_file() else next(path for path in start.rglob("*") if path.is_file())
        with pytest.raises(UnboundedLossError, match=r"leads back to .*/unnoised, .*without DP"):
            run("private", model={"weights": file}, privacy=DP)
    noised = run("noised", privacy={**DP, "epsilon": 2.0})
    run("private", model={"weights": noised}, privacy={**DP, "budget": 20.0})
    run("open", model={"weights": unnoised})


def test_training_stops_once_validation_gains_no_more(make_settings, tmp_path, monkeypatch):
    figures = {0: 0.5, 1: 0.7, 2: 0.6, 3: 0.7, 4: 0.9}
    note = PublicEvaluation.note

    def noted(self, *, finalized_rounds, model, seconds):
        monkeypatch.setattr(self, "measure", lambda model: PublicFigures(figures[finalized_rounds], {}))
        return note(self, finalized_rounds=finalized_rounds, model=model, seconds=seconds)

    monkeypatch.setattr(PublicEvaluation, "note", noted)
    settings = make_settings(training={"rounds": 4, "stopping": "validation"})
    results = train_centrally(settings, tmp_path / "run", lambda stage: None)
    assert (len(results.rounds), results.stopped, results.complete) == (3, True, True)
    again = resume_centrally(tmp_path / "run", lambda stage: None)
    assert again == results
    figures[3] = 0.71
    results = train_centrally(settings, tmp_path / "longer", lambda stage: None)
    assert (len(results.rounds), results.stopped) == (4, False)


def test_a_calibrated_model_says_other_probabilities_in_the_same_order(make_settings, tmp_path):
    settings = make_settings(training={"calibration": "temperature"})
    train_centrally(settings, tmp_path / "run", lambda stage: None)
    trained = load_run_model(RunDirectory(tmp_path / "run"))
    image = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    plain = explain(trained.model, image, {})
    calibrated = explain(trained.model, image, trained.temperatures)
    assert any(one != 1.0 for one in trained.temperatures.values())
    for before, after in zip(plain, calibrated, strict=True):
        assert not before.calibrated
        assert after.calibrated is (before.label in trained.temperatures)
        temperature = trained.temperatures.get(before.label, 1.0)
        assert logit(before.probability) / temperature == pytest.approx(logit(after.probability), rel=1e-3)
    assert load_run_model(RunDirectory(tmp_path / "run"), 0).temperatures == {}


@pytest.mark.parametrize("chosen", [{"stopping": "validation"}, {"calibration": "temperature"}])
def test_choices_that_read_validation_patients(chosen, make_settings, tmp_path):
    with pytest.raises(ConfigError, match="in a federation allowed is"):
        simulate(make_settings(training=chosen), tmp_path / "run", lambda stage: None)
    with pytest.raises(UnboundedLossError, match=r"can't be used with DP on"):
        train_centrally(make_settings(training=chosen, privacy=DP), tmp_path / "run", lambda stage: None)


def test_an_encoder_that_stacks_patches_as_rows_is_refused_before_epsilon_is_charged(make_settings, tmp_path):
    settings = make_settings(
        model={"encoder": "mobilevit_xxs"}, privacy=DP | {"epsilon_ledger": tmp_path / "epsilon"}
    )
    with pytest.raises(UnboundedLossError, match=r"got 8 rows for the 2 of the batch"):
        train_centrally(settings, tmp_path / "run", lambda stage: None)
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("epsilon/*.json"))


def test_a_federations_run_is_no_central_training(make_federation):
    federation = make_federation()
    with pytest.raises(StoreError, match="not a central training"):
        resume_centrally(federation.directory.root, lambda stage: None)


def test_a_training_that_was_killed_before_its_first_model(make_settings, tmp_path):
    prepare(make_settings(partition={"institutions": 1}), tmp_path / "run")
    with pytest.raises(StoreError, match="interrupted before its first round: start a new run"):
        resume_centrally(tmp_path / "run", lambda stage: None)
