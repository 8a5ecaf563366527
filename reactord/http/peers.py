"""Who is at the other end of a connection over the loopback? Every user of a machine may connect there.

Linux tells whose socket it is (sock_diag(7), as `ss -e` shows it), to everybody and for nothing but this connection;
elsewhere nobody can tell at this price, and who comes over the loopback is one of us.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Any

_DIAG, _BY_FAMILY, _ERROR = 4, 20, 2  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLMSG_ERROR
_HEADER, _REQUEST = struct.Struct("=IHHII"), struct.Struct("=BBBxI")
_PORTS, _ANY = struct.Struct("!HH"), struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # no interface, no cookie
#: struct inet_diag_msg: family, state, timer, retransmissions; the addresses; expires, queues; uid, inode
_FOUND = struct.Struct("=4x48x12xII")
_WAIT_S = 0.2
ROOT = 0


def is_one_of_us(ours: Any, theirs: Any) -> bool:  # noqa: ANN401 - two socket addresses
    """Whether our own user, or root, has the other end of the connection between these two addresses.

    A socket that is closed already is nobody's. Where the kernel cannot be asked, everybody is one of us.
    """
    if not sys.platform.startswith("linux"):
        return True
    try:
        return _owner(ours, theirs) in (os.geteuid(), ROOT)
    except OSError as trouble:
        return trouble.errno != errno.ENOENT  # what is not there has nobody; else it is we who may not ask


def _owner(ours: Any, theirs: Any) -> int | None:  # noqa: ANN401
    """The user of the socket at the other end; None: its program has closed it. Raises OSError."""
    family = socket.AF_INET6 if ":" in ours[0] else socket.AF_INET
    ends = _PORTS.pack(theirs[1], ours[1]) + _packed(family, theirs[0]) + _packed(family, ours[0]) + _ANY
    ask = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _DIAG) as kernel:
        kernel.settimeout(_WAIT_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(ask), _BY_FAMILY, 1, 1, 0) + ask)
        answer = kernel.recv(8192)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        raise OSError(code, os.strerror(code))
    uid, inode = _FOUND.unpack_from(answer, _HEADER.size)
    return uid if inode else None


def _packed(family: int, address: str) -> bytes:
    return socket.inet_pton(family, address).ljust(16, b"\0")
