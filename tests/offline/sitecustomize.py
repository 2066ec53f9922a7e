"""With this folder on PYTHONPATH, Python and every kernel that it starts refuse to leave the machine.

With COURSE_HIDDEN set, the installed course_lib cannot be found either, as on a machine that never saw it.
"""

import ipaddress
import os
import socket
import sys
from pathlib import Path


def refuse(host) -> None:
    """Raise unless ``host`` is this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        here = name == "localhost" or ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        here = False
    if not here and name not in ("0.0.0.0", "::"):
        raise ConnectionRefusedError(f"the network is cut off in this test, and {name} was asked for")


def guarded(method):
    def guard(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(arguments[-1][0])  # the address comes last in connect, connect_ex and sendto
        return method(self, *arguments)

    return guard


def look_up(host, *arguments, _getaddrinfo=socket.getaddrinfo, **options):
    refuse(host)
    return _getaddrinfo(host, *arguments, **options)


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
socket.getaddrinfo = look_up

if os.environ.get("COURSE_HIDDEN"):
    editable = [one for one in sys.meta_path if getattr(one, "__module__", "").startswith("__editable__")]
    sys.meta_path[:] = [one for one in sys.meta_path if one not in editable]
    sys.path[:] = [one for one in sys.path if not (Path(one) / "course_lib/__init__.py").exists()]
