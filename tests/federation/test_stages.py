"""A study's stages in a federation: what travels follows the stage, and a void round does not move it on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.audit.report import Verdict
from fedchest.audit.verify import verify_run
from fedchest.federation.config import TrainingSettings
from fedchest.federation.layout import update_layout
from fedchest.federation.study import Stage, Study
from fedchest.ledger.records import Phase


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 30))
def test_the_stage_is_the_one_whose_rounds_hold_the_model(lengths, finalized):
    stages = tuple(Stage(rounds=n, objective=str(i), trainable="all") for i, n in enumerate(lengths))
    study = Study.model_construct(stages=stages)
    planned = [str(i) for i, n in enumerate(lengths) for _ in range(n)]
    assert study.rounds == len(planned)
    assert study.stage(finalized).objective == planned[min(finalized, len(planned) - 1)]


@given(st.integers(1, 12), st.sampled_from(["all", "head", "gradual", "last-scale"]), st.integers(0, 12))
def test_stages_add_up_to_the_rounds(rounds, trainable, pretraining_rounds):
    if pretraining_rounds >= rounds:
        with pytest.raises(ValueError, match="pretraining_rounds"):
            TrainingSettings(rounds=rounds, pretraining="bce", pretraining_rounds=pretraining_rounds)
        return
    pretraining = "bce" if pretraining_rounds else ""
    settings = TrainingSettings(
        rounds=rounds, trainable=trainable, pretraining=pretraining, pretraining_rounds=pretraining_rounds
    )
    assert sum(stage.rounds for stage in settings.stages()) == rounds


@pytest.mark.e2e
def test_updates_hold_what_their_stage_trains_and_the_audit_agrees(make_federation):
    federation = make_federation(training={"rounds": 3, "trainable": "gradual"})
    federation.run()
    assert [federation.state(number).phase for number in (1, 2, 3)] == [Phase.FINALIZED] * 3
    sizes = []
    for number in (1, 2, 3):
        submission = federation.ledger.submission(number, 0)
        assert submission is not None
        sizes.append(len(federation.directory.artifacts.get(submission.sealed_hash)))
        layout = update_layout(federation.study, number - 1)
        assert all(name.startswith("encoder.") is False for name, _ in layout) == (number == 1)
    assert sizes[0] < sizes[1] < sizes[2]
    report = verify_run(federation.directory, rpc_url=federation.rpc_url)
    verdicts = {outcome.step: outcome.verdict for outcome in report.outcomes}
    assert verdicts["aggregation"] is Verdict.PASSED
    assert Verdict.FAILED not in verdicts.values()
