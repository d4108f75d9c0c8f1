"""The federation's arithmetic: one hospital equals plain training, several equal the exact weighted mean."""

from fractions import Fraction

import numpy as np
import pytest
from small_federation import SmallFederation

from fedchest.aggregation.model import parse_model
from fedchest.data.chexpert import read_chexpert
from fedchest.data.dataset import load_dataset
from fedchest.federation.directory import SEALING_KEY, SITE, SiteDocument, read_document
from fedchest.federation.engines.in_process import InProcessGrid
from fedchest.federation.layout import update_layout
from fedchest.learning import dp
from fedchest.learning.gradients import PATIENT_GRADIENTS, DpEngine
from fedchest.learning.objectives import objective_named
from fedchest.learning.plain import train_plainly
from fedchest.ledger.records import Phase
from fedchest.models.chest import build_model
from fedchest.models.parameters import load_parameters, parameters, restrict
from fedchest.protection.codec import Codec, EncodedUpdate
from fedchest.protection.context import UpdateContext
from fedchest.protection.keys import load_sealing_key
from fedchest.protection.randomness import Randomness
from fedchest.protection.sealing import open_sealed

pytestmark = pytest.mark.e2e


def model_of(federation: SmallFederation, digest: bytes) -> dict[str, np.ndarray]:
    return parse_model(federation.directory.artifacts.get(digest))


def trained_by_hand(federation: SmallFederation) -> dict[str, np.ndarray]:
    """What the only hospital's data and random draws give without a federation around them."""
    study = federation.study
    site = read_document(federation.directory.institution(0) / SITE, SiteDocument)
    data = load_dataset(
        read_chexpert(site.data, "train", views=study.views).select_patients(site.patients),
        size=study.model.image_size,
        cache_dir=site.cache,
        label_names=study.labels,
        policies=study.uncertainty,
    )
    model = build_model(study.model, seed=0)
    load_parameters(model, model_of(federation, federation.state().base_model))
    restrict(model, study.stage(0).trainable)
    assert site.randomness_secret is not None
    train_plainly(
        model,
        data,
        study.optimisation,
        objective_named(study.stage(0).objective, private=False),
        steps=study.steps,
        batch=study.batch,
        random=Randomness.derived(site.randomness_secret.read_bytes(), f"{site.randomness_label}|round 1"),
    )
    return parameters(model)


def test_one_hospital_equals_plain_training(make_federation):
    """To within half a step of the codec, and the two roundings to float32 on the way: the difference, the sum."""
    federation = make_federation(
        partition={"institutions": 1}, training={"steps": 3, "batch": 8, "trainable": "all"}
    )
    federation.run()
    base, final = (
        model_of(federation, digest)
        for digest in (federation.state().base_model, federation.ledger.global_model())
    )
    by_hand = trained_by_hand(federation)
    half_step = 2.0 ** -(Codec(federation.study.norm_bound).scale_exponent + 1)
    assert final.keys() == by_hand.keys()
    moved = 0.0
    for name, plain in by_hand.items():
        rounding = (np.spacing(np.abs(plain - base[name])) + np.spacing(np.abs(plain))) / 2
        difference = np.abs(final[name].astype(np.float64) - plain.astype(np.float64))
        assert (difference <= half_step + rounding).all(), name
        moved = max(moved, float(np.abs(plain - base[name]).max()))
    assert moved > 100 * half_step


def opened_updates(federation: SmallFederation, key_holder: str) -> dict[int, EncodedUpdate]:
    """Every accepted update of round 1, opened with the coordinator's or the auditor's key."""
    state, ledger = federation.state(), federation.ledger
    key = load_sealing_key(federation.directory.root / key_holder / SEALING_KEY)
    codec, layout = Codec(federation.study.norm_bound), update_layout(federation.study, 0)
    updates = {}
    for member in ledger.accepted(state.number):
        submission = ledger.submission(state.number, member)
        assert submission is not None
        context = UpdateContext(
            chain_id=ledger.chain_id,
            contract=ledger.address,
            round=state.number,
            institution=member,
            base_model=state.base_model,
        )
        sealed = federation.directory.artifacts.get(submission.sealed_hash)
        updates[member] = codec.decode(open_sealed(sealed, context, key).plaintext, layout)
    return updates


def test_several_hospitals_equal_the_exact_weighted_mean(make_federation):
    """Every value of the new model, against rational arithmetic on the opened updates."""
    federation = make_federation(partition={"partition": "quantity", "alpha": 1.0})
    federation.run()
    updates = opened_updates(federation, "auditor")
    weights = {member.id: member.weight_class for member in federation.ledger.institutions()}
    assert len(updates) == 4
    assert len(set(weights.values())) > 1
    step = Fraction(1, 2 ** Codec(federation.study.norm_bound).scale_exponent)
    columns = np.stack([updates[member].values for member in sorted(updates)], axis=1).tolist()
    ordered, total = [weights[member] for member in sorted(updates)], sum(weights.values())
    mean = [
        float(Fraction(sum(w * q for w, q in zip(ordered, column, strict=True)), total) * step)
        for column in columns
    ]

    base, final = (
        model_of(federation, digest)
        for digest in (federation.state().base_model, federation.ledger.global_model())
    )
    start = 0
    for name, shape in update_layout(federation.study, 0):
        size = int(np.prod(shape))
        expected = base[name].astype(np.float64) + np.array(mean[start : start + size]).reshape(shape)
        assert np.array_equal(final.pop(name), expected.astype(np.float32)), name
        start += size
    assert start == len(mean)
    assert all(np.array_equal(values, base[name]) for name, values in final.items())


def test_coordinator_and_auditor_open_the_same_updates(make_federation):
    federation = make_federation(partition={"institutions": 2})
    federation.run()
    one, other = (opened_updates(federation, holder) for holder in ("coordinator", "auditor"))
    assert all(np.array_equal(one[member].values, other[member].values) for member in (0, 1))


def test_order_of_arrival_does_not_matter(make_federation, monkeypatch, tmp_path):
    """Two runs that draw the same random numbers, the second with its replies back to front: the same model."""
    honest = InProcessGrid.send_and_receive
    reproducible = {"reproducible_noise": True}

    def backwards(self, messages, *, timeout=None):
        return list(honest(self, messages, timeout=timeout))[::-1]

    first = make_federation(privacy=reproducible)
    first.run()
    monkeypatch.setattr(InProcessGrid, "send_and_receive", backwards)
    second = make_federation(privacy=reproducible, run={"out": tmp_path / "again"})
    second.run()
    assert first.ledger.global_model() == second.ledger.global_model()
    assert first.ledger.global_model() != first.state().base_model


def test_both_dp_engines_train_the_same_model(make_federation, tmp_path, monkeypatch):
    """With the same noise and draws, whoever clips the gradients, the round's update is the same but for rounding."""
    used, updates = [], []

    def recorded(engine):
        def watch(model):
            used.append(engine)
            return PATIENT_GRADIENTS[engine](model)

        return watch

    monkeypatch.setattr(dp, "PATIENT_GRADIENTS", {engine: recorded(engine) for engine in DpEngine})
    for engine in DpEngine:
        privacy = {"dp": True, "reproducible_noise": True, "dp_engine": engine}
        federation = make_federation(privacy=privacy, run={"out": tmp_path / engine})
        federation.run()
        assert federation.state().phase is Phase.FINALIZED
        assert set(used) == {engine}
        used.clear()
        base, final = (
            parse_model(federation.directory.artifacts.get(digest))
            for digest in (federation.state().base_model, federation.ledger.global_model())
        )
        updates.append(np.concatenate([(final[name] - base[name]).ravel() for name in base]))
    one, other = updates
    assert np.linalg.norm(one) > 0
    assert np.linalg.norm(one - other) < 1e-3 * np.linalg.norm(one)
