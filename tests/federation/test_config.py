"""Every bad setting gets one sentence with its key, its value and what is allowed; nothing is passed over."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedchest.errors import ConfigError
from fedchest.federation.config import Settings, read_pretraining, read_settings

DATA = {"data": {"data": "chexpert"}}


def fault(**sections: dict[str, object]) -> str:
    """The sentence that the settings get."""
    with pytest.raises(ConfigError) as error:
        read_settings(None, {**DATA, **sections})
    return str(error.value)


def test_data_is_all_that_must_be_said():
    settings = read_settings(None, DATA)
    assert settings.partition.institutions == 4
    assert settings.privacy.dp


@pytest.mark.parametrize(
    ("section", "key", "value", "allowed"),
    [
        ("partition", "institutions", 0, "greater than or equal to 1"),
        ("partition", "institutions", "four", "integer"),
        ("partition", "partition", "fair", "dirichlet"),
        ("partition", "local_validation", 1.0, "less than 1"),
        ("partition", "alpha", 0, "greater than 0"),
        ("rewards", "rule", "luck", "weight"),
        ("rewards", "contribution", "banzhaf", "leave-one-out"),
        ("rewards", "permutations", 0, "greater than or equal to 1"),
        ("data", "views", "oblique", "frontal"),
        ("data", "image_size", 8, "greater than or equal to 32"),
        ("training", "rounds", 0, "greater than or equal to 1"),
        ("training", "learning_rate", float("nan"), "finite"),
        ("training", "learning_rate", float("inf"), "finite"),
        ("training", "optimizer", "lion", "adam"),
        ("privacy", "epsilon", -1, "greater than 0"),
        ("privacy", "epsilon", float("inf"), "finite"),
        ("privacy", "delta", 0.5, "less than 0.01"),
        ("privacy", "sampling_rate", 1.5, "less than or equal to 1"),
        ("protection", "norm_bound", 1e30, "less than"),
        ("protection", "norm_bound", 0.0, "greater than"),
        ("chain", "chain", "mainnet", "anvil"),
        ("chain", "chain_port", 70000, "less than or equal to 65535"),
        ("run", "engine", "cloud", "in-process"),
        ("run", "seed", -1, "greater than or equal to 0"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(section, key, value, allowed):
    sentence = fault(**{section: {**DATA.get(section, {}), key: value}})
    assert f"{section}.{key} = {value!r}: " in sentence
    assert allowed in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(("key", "value"), [("rpc", "http://node"), ("chain_port", 1), ("finality_depth", 2)])
def test_what_is_a_chains_is_refused_with_a_file(key, value):
    assert f"chain.{key} = {value}: with chain.chain = file" in fault(chain={"chain": "file", key: value})


def test_missing_data():
    with pytest.raises(ConfigError, match=r"data is required \(--data FOLDER\)"):
        read_settings(None, {})


@pytest.mark.parametrize(
    ("sections", "key"),
    [({"training": {"epochs": 3}}, "training.epochs"), ({"trainig": {"rounds": 3}}, "trainig")],
)
def test_unknown_key(sections, key):
    assert fault(**sections).startswith(f"{key} is not a setting")


def test_all_faults_are_named_at_once():
    sentence = fault(training={"rounds": 0, "steps": 0}, run={"engine": "cloud"})
    assert all(key in sentence for key in ("training.rounds", "training.steps", "run.engine"))


@pytest.mark.parametrize(
    ("sections", "keys"),
    [
        ({"chain": {"cohort_size": 9}}, ["chain.cohort_size = 9", "partition.institutions = 4"]),
        ({"chain": {"minimum_accepted": 5}}, ["chain.minimum_accepted = 5"]),
        (
            {
                "rewards": {"rule": "contribution", "permutations": 1000},
                "partition": {"institutions": 100},
            },
            ["rewards.permutations = 1000", "99,002 models a round", "65,536"],
        ),
        ({"chain": {"cohort_size": 2, "minimum_accepted": 3}}, ["chain.minimum_accepted = 3"]),
        ({"data": {"data": "x", "uncertainty": {"Hernia": "u-ones"}}}, ["Hernia", "Cardiomegaly"]),
        (
            {"data": {"data": "x", "uncertainty": {"Edema": "u-twos"}}},
            ["uncertainty.Edema = 'u-twos'", "u-ones"],
        ),
        (
            {"training": {"calibration": "temperature"}, "model": {"hierarchy": True}},
            ["training.calibration = temperature", "model.hierarchy"],
        ),
    ],
)
def test_settings_that_contradict_each_other(sections, keys):
    sentence = fault(**sections)
    assert all(key in sentence for key in keys)


def test_toml_file_with_the_command_line_over_it(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[data]\ndata = "there"\n[training]\nrounds = 7\nsteps = 9\n')
    settings = read_settings(file, {"training": {"rounds": 2}})
    assert (settings.data.data.name, settings.training.rounds, settings.training.steps) == ("there", 2, 9)
    assert settings.data.data.is_absolute()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[data\n", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        (b'data = "chexpert"\n', "data = 'chexpert': a table"),
        (b"training = 3\n", "training = 3: a table"),
    ],
)
def test_a_bad_file(tmp_path, content, said):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_settings(file, {"training": {"rounds": 2}, "data": {"data": "x"}})
    assert said in str(error.value)


def test_a_file_that_is_absent_or_a_folder(tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            read_settings(path, {})


SECTIONS = [name for name in Settings.model_fields if name != "data"]


@given(
    st.sampled_from(
        [(name, key) for name in SECTIONS for key in Settings.model_fields[name].annotation.model_fields]
    ),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
)
def test_whatever_is_given_is_taken_or_named(place, value):
    section, key = place
    try:
        settings = read_settings(None, {**DATA, section: {key: value}})
    except ConfigError as error:
        assert key in str(error)
    else:
        assert Settings.model_validate_json(settings.model_dump_json()) == settings
        json.loads(settings.model_dump_json())


@pytest.mark.parametrize(
    ("training", "stages"),
    [
        ({"rounds": 5, "pretraining_rounds": 2}, [(2, "byol", "all")]),
        ({"rounds": 3}, [(3, "byol", "all")]),
        ({"trainable": "head"}, [(5, "byol", "all")]),
        ({"trainable": "gradual"}, [(5, "byol", "all")]),
        ({"trainable": "last-scale"}, [(5, "byol", "last-scale")]),
    ],
)
def test_pretraining_alone(training, stages):
    settings = read_pretraining(None, {**DATA, "training": {"pretraining": "byol", **training}})
    found = [(stage.rounds, stage.objective, stage.trainable) for stage in settings.training.stages()]
    assert found == stages


def test_pretraining_alone_needs_a_loss():
    with pytest.raises(ConfigError, match=r"training\.pretraining = ''.*byol"):
        read_pretraining(None, DATA)
    with pytest.raises(ConfigError, match=r"training = 3"):
        read_pretraining(None, {**DATA, "training": 3})


def test_every_setting_has_a_flag_of_its_own():
    names = [name for section in Settings.model_fields.values() for name in section.annotation.model_fields]
    assert len(names) == len(set(names))


def test_mixed_precision_needs_the_engine_that_can_do_it(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.precision = bfloat16.*dp_engine"):
        read_settings(
            None,
            {
                "data": {"data": tmp_path},
                "training": {"precision": "bfloat16"},
                "privacy": {"dp_engine": "opacus"},
            },
        )
