"""Where does every file live? Each path below `~/.jarvis` is named here and nowhere else."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from reactord import durable
from reactord.errors import BadConfig


@dataclass(frozen=True, slots=True)
class Home:
    """The bus directory: `~/.jarvis`, `$JARVIS_HOME`, or what `--home` says."""

    root: Path

    @classmethod
    def find(cls, argument: str | os.PathLike[str] | None = None) -> Home:
        """Resolve the home from the command line, then the environment, then the default."""
        if argument is not None and not os.fspath(argument):  # an unset variable of a script, most likely
            raise BadConfig("--home is empty. Name the bus directory: --home DIR")
        chosen = argument or os.environ.get("JARVIS_HOME") or Path.home() / ".jarvis"
        return cls(Path(os.path.abspath(Path(chosen).expanduser())))  # noqa: PTH100 - resolve() would follow a linked home

    # -- the public bus ---------------------------------------------------------------------------------------------
    @property
    def telemetry(self) -> Path:
        return Path(os.environ.get("TELEMETRY_OUTPUT_DIR") or self.root / "telemetry")

    @property
    def trinity(self) -> Path:
        return self.root / "trinity"

    @property
    def events(self) -> Path:
        return self.trinity / "events"

    @property
    def commands(self) -> Path:
        """Where everybody leaves commands for everybody."""
        return self.trinity / "commands"

    @property
    def responses(self) -> Path:
        """Where we answer commands."""
        return self.trinity / "responses"

    @property
    def dead_letters(self) -> Path:
        """Commands that could not be done, until a person decides."""
        return self.trinity / "dlq" / "reactor"

    @property
    def prime_inboxes(self) -> tuple[Path, Path]:
        """Where Prime's bus delivers to the orchestrator and to Body: an announcement goes into both."""
        return self.trinity / "inbox" / "orchestrator", self.trinity / "inbox" / "jarvis_body"

    @property
    def staging(self) -> Path:
        return self.root / "bridge" / "training_staging"

    @property
    def dropboxes(self) -> tuple[Path, ...]:
        """Where Body may leave the file that a POST /api/training/start names."""
        other = os.environ.get("TRAINING_DROPBOX_DIR")
        return (self.staging, Path(other)) if other else (self.staging,)

    @property
    def bus_lines(self) -> Path:
        return self.trinity / "bus_sync" / "reactor_events.jsonl"

    @property
    def model_events(self) -> Path:
        return self.root / "reactor" / "events"

    @property
    def cross_repo(self) -> Path:
        return self.root / "cross_repo"

    @property
    def reactor_state(self) -> Path:
        return self.cross_repo / "reactor_state.json"

    @property
    def shared_heartbeat(self) -> Path:
        return self.cross_repo / "heartbeat.json"

    @property
    def heartbeats(self) -> tuple[Path, ...]:
        """Every place where some reader of Body or Prime looks for our heartbeat (contract/body.md 4.1)."""
        return (
            self.trinity / "components" / "reactor_core.json",
            self.trinity / "heartbeats" / "reactor_core.json",
            self.trinity / "heartbeats" / "reactor-core.json",
            self.trinity / "reactor_body.json",
            self.trinity / "reactor_core_heartbeat.json",
            self.cross_repo / "reactor_core_heartbeat.json",
        )

    @property
    def prime_component(self) -> Path:
        return self.trinity / "components" / "jarvis_prime.json"

    @property
    def prime_state(self) -> Path:
        return self.cross_repo / "jarvis_prime_state.json"

    @property
    def umf(self) -> Path:
        """The base of JARVIS's message fabric, where nothing else is said."""
        return self.root / "umf"

    @property
    def registry(self) -> Path:
        return Path(os.environ.get("JARVIS_REGISTRY_DIR") or self.root / "registry")

    @property
    def locks(self) -> Path:
        return Path(os.environ.get("JARVIS_LOCK_DIR") or self.root / "locks") / "cross_repo"

    # -- ours -------------------------------------------------------------------------------------------------------
    @property
    def reactor(self) -> Path:
        return self.root / "reactor"

    @property
    def config(self) -> Path:
        return self.reactor / "config.json"

    @property
    def daemon_lock(self) -> Path:
        return self.reactor / "daemon.lock"

    @property
    def daemon_note(self) -> Path:
        """Who holds the daemon lock: pid, port, since when (the lock file itself is emptied by filelock)."""
        return self.reactor / "daemon.json"

    @property
    def http_socket(self) -> Path:
        """Where the command line asks the daemon; nobody else may open it (http/sockets.py)."""
        return self.reactor / "reactord.sock"

    @property
    def http_token(self) -> Path:
        """What those must know who come from another machine (http/token.py)."""
        return self.reactor / "http.token"

    @property
    def births(self) -> Path:
        """Why a job is born next, or is not: what `reactord status` shows of it."""
        return self.reactor / "births.json"

    @property
    def prime_lease(self) -> Path:
        """The lease on Prime's memory, while we have it: whoever comes after us renews it, or gives it back."""
        return self.reactor / "prime_lease.json"

    @property
    def schedules(self) -> Path:
        """The times for training that were asked for besides the settings."""
        return self.reactor / "schedules.json"

    @property
    def ledger(self) -> Path:
        return self.reactor / "ledger"

    @property
    def journal(self) -> Path:
        return self.ledger / "journal"

    @property
    def index_db(self) -> Path:
        return self.ledger / "index.db"

    @property
    def state_db(self) -> Path:
        return self.ledger / "state.db"

    @property
    def claimed(self) -> Path:
        """Drop files renamed away from the bus, until the ledger has them."""
        return self.ledger / "claimed"

    @property
    def taken_commands(self) -> Path:
        """The memory of the commands that we took off the bus."""
        return self.reactor / "commands"

    @property
    def jobs(self) -> Path:
        return self.reactor / "jobs"

    @property
    def datasets(self) -> Path:
        return self.reactor / "datasets"

    @property
    def models(self) -> Path:
        return self.reactor / "models"

    @property
    def base_models(self) -> Path:
        return self.models / "base"

    @property
    def lineage(self) -> Path:
        return self.models / "lineage.jsonl"

    @property
    def quarantine(self) -> Path:
        return self.reactor / "quarantine"

    @property
    def logs(self) -> Path:
        return self.reactor / "logs"

    def create(self) -> None:
        """Make every directory we read from or write to; ours are private (0700), so they come first."""
        ours = (
            self.reactor,
            self.ledger,
            self.journal,
            self.claimed,
            self.jobs,
            self.datasets,
            self.models,
            self.base_models,
            self.quarantine,
            self.logs,
        )
        for path in ours:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for parent in dict.fromkeys((self.root.parent, *(path.parent for path in ours))):
            with contextlib.suppress(PermissionError):  # of a parent that is not ours
                durable.sync_directory(parent)  # a drop file that is claimed must not vanish with a directory of ours
        for path in (
            self.telemetry,
            self.events,
            self.staging,
            self.bus_lines.parent,
            self.model_events,
            self.cross_repo,
            self.trinity / "components",
            self.trinity / "heartbeats",
            self.registry,
            self.locks,
        ):
            path.mkdir(parents=True, exist_ok=True)
