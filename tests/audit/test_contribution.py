"""A round whose credits follow contribution, on a real chain; and every lie about it, refused or named."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_support import failures
from click.testing import CliRunner
from small_federation import SmallFederation, founded, small_settings

import fedchest.federation.run as run_module
import server.coordinator as coordinator_module
from fedchest.aggregation.model import parse_model
from fedchest.aggregation.record import RecordContribution, RecordValue, RoundRecord
from fedchest.audit.case import Case
from fedchest.audit.report import Finding, Outcome, Verdict
from fedchest.audit.rules import ROUND_CREDITS
from fedchest.audit.source import chain_source
from fedchest.audit.steps.computation.updates import accepted_updates
from fedchest.audit.verify import verify_run
from fedchest.cli.audit import audit
from fedchest.contribution.assessment import Trial
from fedchest.contribution.predictions import TOLERANCE, Predictions, quantised
from fedchest.data.phantom.writer import write_phantom_cohort
from fedchest.errors import ConfigError, StoreError
from fedchest.federation.contribution import predict_coalitions, trial_of, values_of
from fedchest.federation.prepare import prepare
from fedchest.federation.study_data import study_data
from fedchest.learning.evaluate import evaluate, predict
from fedchest.ledger.client import LedgerClient
from fedchest.ledger.contract import LedgerRefusal
from fedchest.ledger.records import Phase, Proposal, Receipt
from fedchest.models.chest import build_model
from fedchest.models.parameters import load_parameters
from fedchest.protection.codec import Codec

pytestmark = pytest.mark.e2e

VICTIM = 2

MakeScored = Callable[..., SmallFederation]


@pytest.fixture(scope="module")
def measured_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered tree of 60 patients at 4 sites and 160 public ones, 32 pixels: enough to measure on."""
    root = tmp_path_factory.mktemp("measured")
    write_phantom_cohort(root, patients=60, validation_patients=160, size=32, seed=2, sites=4)
    return root


@pytest.fixture
def make_scored(measured_cohort: Path, image_cache: Path, tmp_path: Path) -> Iterator[MakeScored]:
    """Founds a small federation of 4 hospitals whose credits follow contribution; arguments are sections.

    Training repeats itself from the seed, so that the values are the same each time and not all below 0.
    """
    with ExitStack() as chains:

        def make(**sections: Mapping[str, Any]) -> SmallFederation:
            rewards = {"rule": "contribution", "resamples": 20, **sections.pop("rewards", {})}
            training = {"steps": 4, "learning_rate": 0.01}
            privacy = {"reproducible_noise": True}
            merged = {**sections, "rewards": rewards, "training": training, "privacy": privacy}
            settings = small_settings(measured_cohort, tmp_path / "run", image_cache, merged)
            return chains.enter_context(founded(settings))

        yield make


def contribution(federation: SmallFederation) -> RecordContribution:
    record = RoundRecord.from_bytes(federation.directory.artifacts.get(federation.state().record))
    assert record.contribution is not None
    return record.contribution


def outcome(federation: SmallFederation, step: str, **given: Any) -> Outcome:
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, **given)
    return next(one for one in report.outcomes if one.step == step)


def found(federation: SmallFederation, *steps: str) -> Finding:
    """The finding of the first of the steps that fail, which are these and no others; the round was finalized."""
    assert federation.state().phase is Phase.FINALIZED
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    assert set(failures(report)) == set(steps), report.sentence()
    assert report.exit_status == 1
    finding = failures(report)[steps[0]].findings[0]
    assert finding.round == 1 and finding.expected != finding.found
    return finding


def floats(scores: np.ndarray) -> np.ndarray:
    return (scores.astype(np.float64) - 2**15) / 2**11


# An honest round.


def test_credits_follow_the_scores_and_the_audit_finds_them_again(make_scored):
    federation = make_scored()
    federation.run()
    stated, scores = contribution(federation), federation.ledger.scores(1)
    assert [max(value.value, 0) for value in stated.values] == list(scores) and any(scores)
    assert all(value.low < value.high for value in stated.values)
    credits = [institution.credits for institution in federation.ledger.institutions()]
    assert credits == [ROUND_CREDITS * score // sum(scores) for score in scores]
    before = {path: path.stat().st_mtime_ns for path in federation.directory.root.rglob("*")}
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    assert failures(report) == {}
    assert {path: path.stat().st_mtime_ns for path in federation.directory.root.rglob("*")} == before
    assert outcome(federation, "scores").detail.startswith("4 scores and their intervals follow")
    assert outcome(federation, "predictions").verdict is Verdict.PASSED


def test_the_predictions_are_of_the_coalitions_own_averages(make_scored):
    """By hand in floats: the average that FedAvg would have made of each coalition, and what it says of each image."""
    federation = make_scored()
    federation.run()
    directory, study, state = federation.directory, federation.study, federation.state()
    with chain_source(directory, federation.rpc_url) as source:
        case = Case(directory, source, directory.auditor / "sealing.key")
        updates = accepted_updates(case, state)
        weights = [case.institutions[id].weight_class for id in updates]
    base = parse_model(directory.artifacts.get(state.base_model))
    committed = Predictions.from_bytes(
        directory.artifacts.get(bytes.fromhex(contribution(federation).predictions))
    )
    data = study_data(study, federation.settings.data.data, "valid", cache=directory.root / "own-cache")
    step = 2.0 ** -Codec(study.norm_bound).scale_exponent
    assert len(committed.logits) == 16
    for coalition in (0, 0b0001, 0b0101, 0b1110, 0b1111):
        chosen = [id for id in updates if coalition >> id & 1]
        moved = dict(base)
        start = 0
        for name, shape in updates[0].layout:
            size = int(np.prod(shape))
            parts = [weights[id] * updates[id].values[start : start + size].astype(float) for id in chosen]
            mean = sum(parts, np.zeros(size)) * step / max(sum(weights[id] for id in chosen), 1)
            moved[name] = (base[name] + mean.reshape(shape)).astype(np.float32)
            start += size
        model = build_model(study.model, seed=0)
        load_parameters(model, moved)
        assert np.abs(predict(model, data) - floats(committed.logits[coalition])).max() < 0.002
    assert evaluate(model, data).images == committed.logits.shape[1]


def test_drawn_orders_are_found_again(make_scored):
    """One order of four needs 5 models of 16."""
    federation = make_scored(rewards={"permutations": 1})
    federation.run()
    content = federation.directory.artifacts.get(bytes.fromhex(contribution(federation).predictions))
    assert len(Predictions.from_bytes(content).logits) == 5
    report = verify_run(federation.directory, rpc_url=federation.rpc_url, keep_going=True)
    assert failures(report) == {}


def test_without_a_key_the_scores_are_checked_and_the_predictions_are_not(make_scored, tmp_path):
    federation = make_scored(rewards={"contribution": "leave-one-out"})
    federation.run()
    given = {"key": tmp_path / "none.key"}
    assert outcome(federation, "scores", **given).verdict is Verdict.PASSED
    assert outcome(federation, "predictions", **given).verdict is Verdict.NOT_CHECKED


def test_the_auditors_own_copy_of_the_public_set(make_scored, measured_cohort, cohort_folder, tmp_path):
    federation = make_scored()
    federation.run()
    own = shutil.copytree(measured_cohort, tmp_path / "copy")
    assert outcome(federation, "predictions", public_data=own).verdict is Verdict.PASSED
    other = outcome(federation, "predictions", public_data=cohort_folder)
    assert other.verdict is Verdict.NOT_CHECKED and "has other labels" in other.detail
    missing = outcome(federation, "predictions", public_data=tmp_path / "nowhere")
    assert missing.verdict is Verdict.NOT_CHECKED and "can't be read" in missing.detail


def test_credits_can_be_asked_for_with_scores_and_intervals(make_scored, tmp_path):
    federation = make_scored()
    federation.run()
    federation.ledger.sync()
    run, index = str(federation.directory.root), str(tmp_path / "index.sqlite")
    node = ["--rpc", federation.rpc_url]
    asked = CliRunner().invoke(audit, ["rewards", run, "--json", *node], standalone_mode=False)
    rows = [json.loads(line) for line in asked.output.splitlines()]
    (first, *_), institutions = rows, federation.ledger.institutions()
    assert [row["credits"] for row in rows] == [institution.credits for institution in institutions]
    told = [
        (one["institution"], one["value"], one["low"], one["high"])
        for row in rows
        for one in row["contribution"]
    ]
    assert told == [(v.institution, v.value, v.low, v.high) for v in contribution(federation).values]
    assert [row["contribution"][0]["score"] for row in rows] == list(federation.ledger.scores(1))
    assert first["contribution"][0]["credits"] == first["credits"]
    table = CliRunner().invoke(audit, ["rewards", run, *node], standalone_mode=False)
    assert "millionths of the mean AUROC" in table.output and str(told[3][1]) in table.output
    CliRunner().invoke(audit, ["index", run, "--out", index, *node], standalone_mode=False)
    alone = CliRunner().invoke(audit, ["rewards", index, "--json"], standalone_mode=False)
    (score,) = json.loads(alone.output.splitlines()[VICTIM])["contribution"]
    assert score["score"] == federation.ledger.scores(1)[VICTIM] and score["value"] is None


# The coordinator lies about the scores.


def proposing(scores: Callable[[Sequence[int]], Sequence[int]]) -> Callable[..., Receipt]:
    honest = LedgerClient.propose

    def propose(
        ledger: LedgerClient,
        number: int,
        proposal: Proposal,
        accepted: Sequence[int],
        stated: Sequence[int],
        refusals: Mapping[int, int],
    ) -> Receipt:
        return honest(ledger, number, proposal, accepted, scores(stated), refusals)

    return propose


def favoured(scores: Sequence[int]) -> list[int]:
    return [score + 500_000 * (place == VICTIM) for place, score in enumerate(scores)]


def test_scores_that_are_not_those_of_the_predictions(make_scored, monkeypatch):
    federation = make_scored()
    monkeypatch.setattr(LedgerClient, "propose", proposing(favoured))
    federation.run()
    finding = found(federation, "scores")
    assert finding.institution == VICTIM and "proposed score" in finding.what
    assert finding.found == str(federation.ledger.scores(1)[VICTIM])
    assert finding.file == f"artifacts/{contribution(federation).predictions}"


@pytest.mark.parametrize(
    "lie",
    [{"value": 900_000}, {"low": -1}, {"high": None}, {"institution": 0}],
    ids=["value", "low", "no interval", "another's"],
)
def test_a_record_whose_values_are_not_those_of_the_predictions(make_scored, monkeypatch, lie):
    def dishonest(*given: Any) -> tuple[RecordValue, ...]:
        values = list(values_of(*given))
        values[VICTIM] = replace(values[VICTIM], **lie)
        return tuple(values)

    federation = make_scored()
    monkeypatch.setattr(coordinator_module, "values_of", dishonest)
    federation.run()
    finding = found(federation, "scores")
    assert finding.institution == VICTIM and "record's value" in finding.what


def test_a_record_with_fewer_values_than_were_accepted(make_scored, monkeypatch):
    federation = make_scored()
    monkeypatch.setattr(coordinator_module, "values_of", lambda *given: values_of(*given)[:-1])
    monkeypatch.setattr(LedgerClient, "propose", proposing(lambda scores: [*scores, 1]))
    federation.run()
    assert "of others than the accepted" in found(federation, "scores").what


# The coordinator lies about the predictions.


def test_predictions_of_another_model_than_the_coalitions(make_scored, monkeypatch):
    """They favour the victim, and all that is stated follows from them: only who opens the updates can tell."""

    def dishonest(*given: Any) -> Predictions:
        honest = predict_coalitions(*given)
        logits = honest.logits.copy()
        with_victim = np.arange(len(logits)) >> VICTIM & 1 == 1
        logits[with_victim] += (honest.truth.positive * (TOLERANCE + 1)).astype(np.uint16)
        return Predictions(honest.truth, logits)

    federation = make_scored()
    monkeypatch.setattr(coordinator_module, "predict_coalitions", dishonest)
    federation.run()
    finding = found(federation, "predictions")
    assert f"by the updates of [{VICTIM}]" in finding.what


def test_orders_that_the_coordinator_chose(make_scored, monkeypatch):
    """Which coalitions are tried follows from commitments and sum, and from nobody's wish."""

    def chosen(*given: Any) -> Trial:
        due = trial_of(*given)
        others = (replace(due, seed=number.to_bytes(32)) for number in count())
        shared = {0, 0b1111}
        return next(t for t in others if {*t.design().coalitions} & {*due.design().coalitions} == shared)

    federation = make_scored(rewards={"permutations": 1})
    monkeypatch.setattr(coordinator_module, "trial_of", chosen)
    federation.run()
    found(federation, "scores", "predictions")


def test_labels_that_the_coordinator_chose(make_scored, monkeypatch):
    def dishonest(*given: Any) -> Predictions:
        honest = predict_coalitions(*given)
        return Predictions(replace(honest.truth, positive=~honest.truth.positive), honest.logits)

    federation = make_scored()
    pinned = federation.study.rewards
    monkeypatch.setattr(coordinator_module, "predict_coalitions", dishonest)
    with pytest.raises(StoreError, match="not those that the study measures"):
        federation.run()
    assert pinned is not None and federation.ledger.scores(1) == ()


def test_a_coordinator_that_forgoes_its_own_check_of_the_labels(make_scored, monkeypatch):
    def with_other_labels(self: Any, *given: Any) -> RecordContribution:
        stated = honest(self, *given)
        content = Predictions.from_bytes(self.artifacts.get(bytes.fromhex(stated.predictions)))
        truth = replace(content.truth, positive=~content.truth.positive & content.truth.counted)
        stored = self.artifacts.put(Predictions(truth, content.logits).to_bytes())
        return replace(stated, predictions=stored.hex())

    federation = make_scored()
    honest = coordinator_module.Coordinator._contribution
    monkeypatch.setattr(coordinator_module.Coordinator, "_contribution", with_other_labels)
    federation.run()
    finding = found(federation, "scores", "predictions")
    assert "other labels than the study's" in finding.what
    assert federation.study.rewards is not None
    assert finding.expected == "0x" + federation.study.rewards.truth_sha256


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"rubbish", "7 other bytes"), (None, "predictions of 15")],
    ids=["rubbish", "one less"],
)
def test_a_file_that_is_none_of_the_rounds_predictions(make_scored, monkeypatch, content, named):
    honest = Predictions.to_bytes

    def dishonest(predictions: Predictions) -> bytes:
        return content or honest(Predictions(predictions.truth, predictions.logits[:-1]))

    federation = make_scored()
    with monkeypatch.context() as patched:
        patched.setattr(Predictions, "to_bytes", dishonest)
        federation.run()
    finding = found(federation, "scores", "predictions")
    assert finding.found == named


def test_predictions_that_are_kept_back(make_scored):
    federation = make_scored()
    federation.run()
    path = federation.directory.artifacts.path(bytes.fromhex(contribution(federation).predictions))
    path.unlink()
    finding = found(federation, "artifacts", "scores", "predictions")
    assert finding.what == "the file of predictions is missing" and path.name in (finding.file or "")


def test_a_record_that_names_no_predictions(make_scored, monkeypatch):
    honest = coordinator_module._record

    def without(state: Any, new_model: Any, received: Any, stated: Any) -> RoundRecord:
        return honest(state, new_model, received, None)

    federation = make_scored()
    monkeypatch.setattr(coordinator_module, "_record", without)
    federation.run()
    assert "names no predictions" in found(federation, "scores", "predictions").what


# The rule itself.


def test_contribution_needs_public_images_to_be_measured_on(image_cache, tmp_path):
    write_phantom_cohort(tmp_path / "data", patients=8, validation_patients=0, size=32, seed=1, sites=1)
    settings = small_settings(
        tmp_path / "data", tmp_path / "run", image_cache, {"rewards": {"rule": "contribution"}}
    )
    with pytest.raises(ConfigError, match="no validation split to measure it on; allowed is 'weight'"):
        prepare(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("rule", "given"), [("weight", [1, 2, 3, 4]), ("contribution", [])])
def test_the_contract_refuses_scores_against_the_rule(make_scored, monkeypatch, rule, given):
    federation = make_scored(rewards={"rule": rule})
    monkeypatch.setattr(coordinator_module, "scores_of", lambda stated: given)
    with pytest.raises(LedgerRefusal) as refused:
        federation.run()
    assert refused.value.name == "WrongScores"
    assert refused.value.values == {"given": len(given), "expected": 4 - len(given)}


def test_a_record_of_contribution_although_credits_follow_the_weights(make_scored, monkeypatch):
    honest = coordinator_module._record

    def scoring(state: Any, new_model: Any, received: Any, stated: Any) -> RoundRecord:
        return honest(state, new_model, received, RecordContribution(new_model.hex(), ()))

    federation = make_scored(rewards={"rule": "weight"})
    monkeypatch.setattr(coordinator_module, "_record", scoring)
    federation.run()
    assert "although credits follow the weight classes" in found(federation, "scores").what


def test_a_contract_whose_rule_is_not_the_studys(make_scored, monkeypatch):
    honest = run_module.Rules
    monkeypatch.setattr(run_module, "Rules", lambda **rules: honest(**{**rules, "by_contribution": False}))
    federation = make_scored()
    failed = outcome(federation, "contract")
    assert failed.verdict is Verdict.FAILED
    assert (failed.findings[0].expected, failed.findings[0].found) == ("by contribution", "by weight class")


def test_what_a_prediction_may_be_apart_is_allowed(make_scored, monkeypatch):
    """The tolerance is inclusive, and stated with what was found."""

    def elsewhere(*given: Any) -> Predictions:
        honest = predict_coalitions(*given)
        return Predictions(honest.truth, honest.logits + np.uint16(TOLERANCE))

    federation = make_scored()
    monkeypatch.setattr(coordinator_module, "predict_coalitions", elsewhere)
    federation.run()
    assert (
        f"{TOLERANCE} steps apart at most (allowed {TOLERANCE})" in outcome(federation, "predictions").detail
    )
    assert quantised(np.float32([TOLERANCE / 2**11]))[0] == 2**15 + TOLERANCE
