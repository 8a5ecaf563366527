"""Which sockets do we listen on, and who comes through which?

The loopback, for every program of this machine; a socket file that only our user may open, for the command line; and,
where the settings name another address, that one, for whoever knows the token. Everything here is synchronous.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from reactord import durable
from reactord.errors import EnvironmentTrouble
from reactord.home import Home

IPV4, IPV6 = "127.0.0.1", "::1"
LOOPBACK = (IPV4, IPV6, "localhost")
EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - named here, bound only where the settings say so
#: connections that wait until we look
BACKLOG = 64
#: tries to find a port that is free on both addresses
TRIES = 20
#: of a socket file's name, with its NUL: macOS takes fewer than Linux (108)
MAX_NAME_BYTES = 104
_IPV6_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

Door = Literal["loopback", "file", "foreign"]


class PortInUse(EnvironmentTrouble):
    """Somebody else listens on our port."""


def door_of(sockname: object) -> Door:
    """Through which door a connection came, by our end of it. What is not surely ours is foreign."""
    if isinstance(sockname, str | bytes) and sockname:
        return "file"
    if isinstance(sockname, tuple) and sockname[0] in (IPV4, IPV6):
        return "loopback"
    return "foreign"


def loopback(port: int, host: str = IPV4) -> list[socket.socket]:
    """Listening sockets on one port of both loopback addresses; 0 picks one.

    `host`: an address that means all of them takes the place of its family's loopback, for one port has one listener.
    Raises OSError, with the address as its filename.
    """
    ipv4 = host if host == EVERY_IPV4 else IPV4
    ipv6 = host if host == EVERY_IPV6 else IPV6
    for tries_left in reversed(range(TRIES)):
        first = listen_at(ipv4, port)
        try:
            return [first, listen_at(ipv6, first.getsockname()[1])]
        except OSError as trouble:
            if trouble.errno in _IPV6_MISSING and ipv6 == IPV6:
                return [first]
            first.close()
            if trouble.errno != errno.EADDRINUSE or port or not tries_left:
                raise
    raise AssertionError  # the last try returns or raises


def listen_at(address: str, port: int) -> socket.socket:
    """Bind *and* listen: two sockets may bind one port, only one may listen.

    Raises OSError, with the address as its filename.
    """
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
    family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as trouble:
        listener.close()
        raise OSError(trouble.errno, trouble.strerror, f"{address}:{port}") from None
    return listener


def explained(trouble: OSError, port: int) -> EnvironmentTrouble:
    """Why there is no listener on our own port, and what to do; looks at every process for it."""
    if trouble.errno == errno.EADDRINUSE:
        return PortInUse(
            f"{trouble.filename} is taken by {_holder(port)}. If that is another reactord, look at it with"
            f" `reactord status`; else stop it, or choose another port:"
            f" `reactord run --port {port + 1 if port < 65535 else 8090}`"
        )
    if trouble.errno == errno.EACCES:
        return EnvironmentTrouble(f"port {port} is not for us; choose one above 1023: `reactord run --port 8090`")
    return EnvironmentTrouble(f"cannot listen on {trouble.filename}: {trouble.strerror}; see `reactord doctor`")


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr[1:2] == (port,):
                return f"process {connection.pid} ({' '.join(psutil.Process(connection.pid).cmdline())[:120]})"
    return f"another program (`lsof -i :{port}` tells which)"


# -- the socket file ---------------------------------------------------------------------------------------------------
def socket_file(home: Home) -> Path:
    """Where the command line asks: in the home, or where a name is short enough for the kernel."""
    if len(os.fsencode(home.http_socket)) < MAX_NAME_BYTES:
        return home.http_socket
    name = hashlib.sha256(os.fsencode(os.path.realpath(home.root))).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(runtime) / f"reactord-{os.geteuid()}" / f"{name}.sock"


def listen_on_file(path: Path) -> socket.socket:
    """A listening socket file that only our user may open; one that nobody listens on any more is replaced.

    The caller holds the home's lock, so no other daemon makes one meanwhile. Raises EnvironmentTrouble and OSError.
    """
    _be_ours(path.parent)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)  # before it listens; a umask would be the other threads', too
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _be_ours(directory: Path) -> None:
    """Who may write there may put their own socket in the place of ours."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    known = directory.lstat()
    if not stat.S_ISDIR(known.st_mode) or known.st_uid != os.geteuid() or known.st_mode & 0o022:
        raise EnvironmentTrouble(f"{directory} must be a directory of yours alone; make it so: chmod 700 {directory}")


def _clear(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise EnvironmentTrouble(f"{path} is in the way of our socket; move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:  # nobody listens: a daemon that was killed has left it
            durable.remove(path)
            return
    raise EnvironmentTrouble(f"another program listens on {path}; end it")
