from __future__ import annotations

import subprocess
import sys

import pytest

from reactord.errors import BadConfig
from reactord.home import Home
from reactord.settings import MAX_CONFIG_BYTES, Env, Settings, load


def _configure(home, text):
    home.config.write_bytes(text if isinstance(text, bytes) else text.encode())


def test_without_anything_the_defaults_hold(home):
    assert load(home, {}) == Settings()


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(home):
    _configure(home, '{"port": 1111, "seed": 11, "recipe": "sft"}')
    environ = {"REACTOR_PORT": "2222", "REACTOR_SEED": "22"}

    settings = load(home, environ, port=3333, seed=None)

    assert (settings.port, settings.seed, settings.recipe) == (3333, 22, "sft")


def test_a_log_level_may_be_written_in_small_letters(home):
    assert load(home, {"LOG_LEVEL": "debug"}).log_level == "DEBUG"


def test_a_home_that_is_a_file_is_named_as_such(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(BadConfig, match="Choose another --home"):
        load(Home(tmp_path / "file"), {})


def test_an_empty_home_is_not_the_default_one():
    with pytest.raises(BadConfig, match="--home is empty"):
        Home.find("")


def test_of_several_names_of_a_knob_the_first_that_is_set_wins(home):
    assert load(home, {"SERVICE_PORT": "1", "TRINITY_PORT": "2"}).port == 2
    assert load(home, {"SERVICE_PORT": "1", "TRINITY_PORT": "  "}).port == 1


def test_every_knob_but_the_numbers_of_a_run_has_a_name_in_the_environment():
    named = {n for n, field in Settings.model_fields.items() if any(isinstance(m, Env) for m in field.metadata)}

    assert set(Settings.model_fields) - named == {"hyper"}


def test_no_name_in_the_environment_sets_two_knobs():
    names = [env for field in Settings.model_fields.values() for m in field.metadata if isinstance(m, Env)
             for env in m.names]  # fmt: skip

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[1]", "one JSON object"),
        ('{"prot": 1}', "prot"),
        ('{"port": 70000}', "port"),
        ('{"port": "eighty"}', "port"),
        ('{"settle_s": -1}', "settle_s"),
        ('{"settle_s": NaN}', "not valid JSON"),
        ('{"hyper": {"learning_rate": 7}}', "hyper.learning_rate"),
        ('{"hyper": {"epochs": 7}}', "hyper.epochs"),
        ('{"log_level": 5}', "log_level"),
        ('{"log_level": "loud"}', "log_level"),
        ('{"model_id": "../../x"}', "model_id"),
        ('{"model_id": "/etc/evil"}', "model_id"),
        ('{"model_id": ""}', "model_id"),
        ('{"recipe": "xyz"}', "unknown recipe 'xyz'; choose one of dpo, sft"),
        ('{"night_shift": "22-06"}', "'22-06' is no window; write one like 22:00-06:00"),
        ('{"night_shift": "22:00-22:00"}', "is an empty window"),
        ('{"night_shift_cron": "0 25 * * *"}', "bad hour"),
        ('{"night_shift_cron": "* * * * *"}', "more often than"),
        ('{"time_zone": "Mars/Base"}', "there is no time zone 'Mars/Base'"),
        ('{"score_threshold": -1}', "score_threshold"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b" " * (MAX_CONFIG_BYTES + 1), "larger than"),
    ],
)
def test_a_broken_config_is_refused_in_words_that_name_the_file_and_end_with_what_to_do(home, text, says):
    _configure(home, text)

    with pytest.raises(BadConfig) as refused:
        load(home, {})

    message = str(refused.value)
    assert says in message
    assert str(home.config) in message
    assert message.endswith(("again.", "it.", "one."))


def test_a_wrong_environment_variable_is_named(home):
    with pytest.raises(BadConfig, match="the environment variable MAX_TOTAL_MEMORY_GB"):
        load(home, {"MAX_TOTAL_MEMORY_GB": "inf"})


def test_a_config_that_is_a_directory_is_refused_without_a_traceback(home):
    home.config.mkdir()

    with pytest.raises(BadConfig, match="cannot be read"):
        load(home, {})


def test_unknown_keys_are_answered_with_the_known_ones(home):
    _configure(home, '{"treshold": 3}')

    with pytest.raises(BadConfig, match="experience_threshold"):
        load(home, {})


def test_the_thresholds_have_the_names_of_the_mission(home):
    settings = load(home, {"REACTOR_EXPERIENCE_BUFFER_THRESHOLD": "40", "REACTOR_AUTO_TRAINING_THRESHOLD": "70.5"})

    assert (settings.experience_threshold, settings.score_threshold) == (40, 70.5)


def test_nights_can_be_set_by_the_environment(home):
    said = {"REACTOR_NIGHT_SHIFT": "mon-fri 22:00-06:00", "REACTOR_TIME_ZONE": "Pacific/Chatham",
            "REACTOR_NIGHT_SHIFT_CRON": "0 3 * * sun"}  # fmt: skip

    settings = load(home, said)

    assert (settings.night_shift, settings.time_zone) == ("mon-fri 22:00-06:00", "Pacific/Chatham")
    with pytest.raises(BadConfig, match="the environment variable REACTOR_TIME_ZONE"):
        load(home, {"REACTOR_TIME_ZONE": "../x"})


def test_whoever_has_no_nights_does_not_pay_for_them(home):
    load(home, {})
    code = (
        "import sys; from reactord import settings, home; settings.load(home.Home.find(sys.argv[1]), {});"
        "sys.exit(int('cronsim' in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code, str(home.root)], check=False).returncode == 0


def test_a_machine_of_a_zone_that_nobody_knows_has_no_nights_until_one_is_named(home, monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    load(home, {})

    with pytest.raises(BadConfig, match="the environment variable TZ: there is no time zone"):
        load(home, {"REACTOR_NIGHT_SHIFT": "22:00-06:00"})
    assert load(home, {"REACTOR_NIGHT_SHIFT": "22:00-06:00", "REACTOR_TIME_ZONE": "Europe/Berlin"})


def test_a_refusal_is_in_our_words_alone(home):
    with pytest.raises(BadConfig) as refused:
        load(home, {"REACTOR_NIGHT_SHIFT": "25:00-3"})

    assert "REACTOR_NIGHT_SHIFT: night_shift: '25:00-3' is no window" in str(refused.value)
    assert ".. " not in str(refused.value)
