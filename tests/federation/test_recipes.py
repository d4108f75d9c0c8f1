"""The named configurations: each is one that can be trained, and SemSSL runs through the whole federation."""

import json

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from fedchest.aggregation.model import parse_model
from fedchest.audit.report import Verdict
from fedchest.audit.verify import verify_run
from fedchest.errors import ConfigError, UnboundedLossError
from fedchest.federation.central import train_centrally
from fedchest.federation.config import read_settings, recipes
from fedchest.federation.directory import SITE, SiteDocument, read_document
from fedchest.federation.prepare import prepare
from fedchest.federation.rules import model_config, refuse_inadmissible
from fedchest.federation.study_data import study_data
from fedchest.ledger.records import Phase
from fedchest.models.chest import Part

PLANNED = (
    "fedchest",
    "xception",
    "chexnet",
    "chexnext",
    "ievit",
    "semssl",
    "dual-vgg",
    "dual-xception",
    "dual-resnet",
)


def settings_of(name, data, **sections):
    return read_settings(None, {**sections, "data": {"data": data}, "model": {"model": name}})


def test_every_comparator_is_there():
    assert set(recipes()) == set(PLANNED)


@pytest.mark.parametrize("name", PLANNED)
def test_every_recipe_is_admissible_with_dp_and_has_the_parts_of_its_losses(name, tmp_path):
    settings = settings_of(name, tmp_path)
    assert settings.model.model == name
    assert settings.privacy.dp
    refuse_inadmissible(settings)
    parts = model_config(settings).parts
    assert (Part.PREDICTOR in parts) == ("byol" in settings.training.objective)
    assert (Part.DECODER in parts) == ("reconstruction" in settings.training.objective)


def test_what_a_recipe_sets_can_be_set_otherwise(tmp_path):
    settings = read_settings(
        None, {"data": {"data": tmp_path}, "model": {"model": "chexnet", "encoder": "resnet18"}}
    )
    assert settings.model.encoder == "resnet18"
    assert settings.training.class_weights == "chexpert"


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.model = 'chexnett'.*chexnet.*semssl"):
        settings_of("chexnett", tmp_path)


@pytest.mark.parametrize(
    ("section", "name", "value", "instead"),
    [
        ("training", "objective", "bce+nt-xent", "byol"),
        ("training", "objective", "auc-margin", "asymmetric"),
        ("training", "class_weights", "cohort", "chexpert"),
        ("training", "trainable", "auto-rgn", "norms-and-head"),
    ],
)
def test_choices_that_read_more_than_a_record_are_refused_by_name_with_dp_only(
    section, name, value, instead, tmp_path
):
    chosen = {section: {name: value, "augmentation": "light"}}
    settings = read_settings(None, {**chosen, "data": {"data": tmp_path}})
    with pytest.raises(UnboundedLossError, match=f"{value.split('+')[-1]}.*{instead}"):
        refuse_inadmissible(settings)
    refuse_inadmissible(
        settings.model_copy(update={"privacy": settings.privacy.model_copy(update={"dp": False})})
    )


@pytest.mark.e2e
def test_semssl_runs_through_chain_sealing_and_dp_with_hospitals_that_have_no_labels(make_federation):
    federation = make_federation(
        model={"model": "semssl", "encoder": "xception-nano"},
        partition={"unlabelled_institutions": 2},
        training={"rounds": 2, "pretraining_rounds": 1, "steps": 1, "trainable": "last-scale"},
        privacy={"dp": True, "epsilon": 50.0},
    )
    federation.run()
    for number in (1, 2):
        assert federation.state(number).phase is Phase.FINALIZED
        assert federation.ledger.accepted(number) == (0, 1, 2, 3)
    report = verify_run(federation.directory, rpc_url=federation.rpc_url)
    verdicts = {outcome.step: outcome.verdict for outcome in report.outcomes}
    assert verdicts["aggregation"] is Verdict.PASSED
    assert Verdict.FAILED not in verdicts.values()
    for index in range(4):
        site = read_document(federation.directory.institution(index) / SITE, SiteDocument)
        data = study_data(
            federation.study,
            site.data,
            "train",
            cache=site.cache,
            patients=site.patients,
            unlabelled=site.unlabelled_patients,
        )
        assert data.mask.any() == (index >= 2)


@pytest.mark.e2e
def test_a_share_of_the_labels_is_hidden_by_patient(make_settings, tmp_path):
    settings = make_settings(data={"labelled_share": 0.5}, partition={"institutions": 1})
    prepared = prepare(settings, tmp_path / "run")
    site = read_document(prepared.directory.institution(0) / SITE, SiteDocument)
    assert 0.3 < len(site.unlabelled_patients) / len(site.patients) < 0.7
    assert set(site.unlabelled_patients) < set(site.patients)


@pytest.mark.e2e
def test_a_teacher_says_what_uncertain_labels_are(make_settings, tmp_path):
    """Its probabilities are the targets of the uncertain labels of that policy; all others stay."""
    train_centrally(make_settings(), tmp_path / "teacher", lambda stage: None)
    policy = {"uncertainty": {"Edema": "u-self-trained"}}
    with pytest.raises(ConfigError, match=r"data\.teacher"):
        make_settings(data=policy)
    settings = make_settings(data={**policy, "teacher": tmp_path / "teacher"}, partition={"institutions": 1})
    prepared = prepare(settings, tmp_path / "run")
    site = read_document(prepared.directory.institution(0) / SITE, SiteDocument)
    with_teacher, without = (
        study_data(prepared.study, site.data, "train", cache=site.cache, patients=site.patients, teacher=one)
        for one in (site.teacher, None)
    )
    edema = prepared.study.labels.index("Edema")
    taught = with_teacher.mask[:, edema] & ~without.mask[:, edema]
    assert taught.sum() > 0
    assert (np.abs(with_teacher.targets[taught, edema] - 0.5) < 0.5).all()
    assert not np.isin(with_teacher.targets[taught, edema], (0.0, 1.0)).any()
    with_teacher.targets[taught, edema] = 0
    assert np.array_equal(with_teacher.targets, without.targets)


@pytest.mark.e2e
def test_a_teacher_without_dp_is_refused_where_dp_is_on(make_settings, tmp_path):
    train_centrally(make_settings(), tmp_path / "open", lambda stage: None)
    policy = {"uncertainty": {"Edema": "u-self-trained"}}
    settings = make_settings(data={**policy, "teacher": tmp_path / "open"}, privacy={"dp": True})
    with pytest.raises(UnboundedLossError, match=r"u-self-trained.*teacher.*u-ones-smoothed"):
        prepare(settings, tmp_path / "run")
    study = tmp_path / "open" / "study.json"
    private = json.loads(study.read_text()) | {
        "privacy": {
            "epsilon": 1.0,
            "delta": 1e-5,
            "sampling_rate": 0.1,
            "noise_multiplier": 1.0,
            "clipping_norm": 1.0,
            "images_per_patient": 1,
            "engine": "bookkeeping",
        }
    }
    study.write_text(json.dumps(private))
    with pytest.raises(UnboundedLossError, match=r"leads back to .*/open"):
        refuse_inadmissible(settings)
    own = tmp_path / "open" / "settings.json"
    told = json.loads(own.read_text())
    own.write_text(json.dumps({**told, "privacy": {**told["privacy"], "dp": True}}))
    refuse_inadmissible(settings)


@pytest.mark.e2e
def test_a_teacher_other_than_the_studys_is_refused(make_settings, tmp_path):
    train_centrally(make_settings(training={"rounds": 2}), tmp_path / "teacher", lambda stage: None)
    data = {"uncertainty": {"Edema": "u-self-trained"}, "teacher": tmp_path / "teacher"}
    prepared = prepare(make_settings(data=data, partition={"institutions": 1}), tmp_path / "run")
    (tmp_path / "teacher" / "models" / "round-002.safetensors").unlink()
    site = read_document(prepared.directory.institution(0) / SITE, SiteDocument)
    with pytest.raises(ConfigError, match="not the one that the study names"):
        study_data(prepared.study, site.data, "train", cache=site.cache, teacher=site.teacher)


@pytest.mark.e2e
def test_weights_of_a_bare_encoder_in_our_own_format(make_settings, tmp_path):
    """timm's names in a file without metadata are not taken for a model of FedChest's."""
    weights = tmp_path / "resnet.safetensors"
    encoder = timm.create_model("test_resnet", in_chans=1)
    save_file({name: value.float() for name, value in encoder.state_dict().items()}, weights)
    chosen = {"weights": weights, "encoder": "test_resnet"}
    results = train_centrally(make_settings(model=chosen), tmp_path / "run", lambda stage: None)
    assert results.complete


@pytest.mark.e2e
def test_pretrained_weights_start_a_model_with_another_head(make_settings, tmp_path):
    train_centrally(
        make_settings(training={"objective": "byol", "augmentation": "light", "trainable": "all"}),
        tmp_path / "ssl",
        lambda stage: None,
    )
    weights = tmp_path / "ssl" / "models" / "round-001.safetensors"
    results = train_centrally(
        make_settings(model={"weights": weights, "fusion": "top-down"}), tmp_path / "run", lambda stage: None
    )
    assert results.complete
    assert "round-001.safetensors" in results.start
    adapted = make_settings(
        model={"weights": weights, "adapter_rank": 2}, training={"trainable": "adapters"}, run={"seed": 1}
    )
    train_centrally(adapted, tmp_path / "adapted", lambda stage: None)
    start, found = (
        parse_model(file.read_bytes())
        for file in (weights, tmp_path / "adapted" / "models" / "round-000.safetensors")
    )
    base = {name: value for name, value in found.items() if ".base." in name}
    assert base
    assert all(np.array_equal(value, start[name.replace(".base.", ".")]) for name, value in base.items())
    wider = {"weights": tmp_path / "adapted" / "models" / "round-001.safetensors", "adapter_rank": 3}
    with pytest.raises(ConfigError, match="has another shape"):
        train_centrally(make_settings(model=wider), tmp_path / "wider", lambda stage: None)
    with pytest.raises(ConfigError, match="another encoder"):
        train_centrally(
            make_settings(model={"weights": weights, "encoder": "xception-tiny"}),
            tmp_path / "other",
            lambda stage: None,
        )
