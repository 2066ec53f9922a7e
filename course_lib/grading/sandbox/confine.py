"""What a process may do from now on: Linux's own locks, set by the process itself before it runs a student's code.

No compiler and no package is needed: the kernel is asked through ctypes.
Names and numbers are those of landlock(7), seccomp(2), unshare(2), capabilities(7).
"""

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PIDS, NEW_NET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
READ_ONLY, NO_SUID, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18

# One row per system call that a worker never needs: its number on x86-64, on arm64, -1 where there is none.
FORBIDDEN = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "fsopen": (430, 430),
    "fsmount": (432, 432), "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "socket": (41, 198), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "personality": (135, 92),
    "quotactl": (179, 60), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "iopl": (172, -1),
    "ioperm": (173, -1), "modify_ldt": (154, -1), "uselib": (134, -1), "fanotify_init": (300, 262),
    "setpriority": (141, 140), "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip
# Without namespaces also: what reaches other processes, or outlives this one.
FORBIDDEN_ALONE = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "setpgid": (109, 154),
    "setsid": (112, 157), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "sched_setparam": (142, 118), "ioprio_set": (251, 30),
    "process_madvise": (440, 440), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, -1), "fchown": (93, 55),
    "lchown": (94, -1), "fchownat": (260, 54), "utimensat": (280, 88), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "fchmodat2": (452, 452),
}  # fmt: skip
CLONE, CLONE3, PRCTL, KILL, TGKILL, PRLIMIT = (56, 220), (435, 435), (157, 167), (62, 129), (234, 131), (302, 261)
CLONE_THREAD = 0x00010000
AUDIT_ARCH = (0xC000003E, 0xC00000B7)


def machine() -> int:
    """The column of this machine in the tables of system calls."""
    columns = {"x86_64": 0, "aarch64": 1}
    if platform.system() != "Linux" or platform.machine() not in columns:
        raise OSError(f"{platform.system()} on {platform.machine()}: only Linux on x86-64 or arm64 can confine")
    return columns[platform.machine()]


def check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    check(libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    words = [word.encode() for word in (source, target, kind)]
    check(libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def prctl(option: int, value: int, third: object = 0) -> int:
    zero = ctypes.c_ulong(0)
    third = third if isinstance(third, int) else ctypes.cast(third, ctypes.c_void_p).value
    result = libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), zero, zero)
    return check(result, f"prctl {option}")


def own_namespaces() -> None:
    """Leave the host's users, processes, mounts, network, IPC and names; the caller forks to enter the new pids."""
    user, group = os.getuid(), os.getgid()
    unshare(NEW_USER | NEW_MOUNTS | NEW_PIDS | NEW_NET | NEW_IPC | NEW_UTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def drop_privileges() -> None:
    """No capability now, none to be gained later by running a set-uid file."""
    for capability in range(64):
        if libc.prctl(24, ctypes.c_ulong(capability), 0, 0, 0) < 0:  # PR_CAPBSET_DROP, until there are no more
            break
    header, data = struct.pack("Ii", 0x20080522, 0), bytes(24)
    check(libc.capset(header, data), "capset")
    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS


def limit(*, memory: int, seconds: int, processes: int | None, file_bytes: int) -> None:
    """Hard limits of this process and of each of its children."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if processes:
        limits[resource.RLIMIT_NPROC] = processes
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))


def landlock(readable: Iterable[str], devices: Iterable[str] = ("/dev/null", "/dev/zero", "/dev/urandom")) -> None:
    """From now on only ``readable`` folders can be read, nothing written but devices, no TCP, no foreign signals.

    Raises:
        OSError: if this kernel has no Landlock.
    """
    abi = check(libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)), "this kernel has no Landlock")
    files = (1 << {1: 13, 2: 14}.get(abi, 15)) - 1 | (1 << 15 if abi >= 5 else 0)
    attributes = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = check(libc.syscall(444, attributes, ctypes.c_size_t(size), ctypes.c_uint(0)), "landlock_create_ruleset")
    read, read_and_write = 0b1101, 0b0110  # execute, read file, read folder; write file, read file
    for path, rights in [*((path, read) for path in readable), *((path, read_and_write) for path in devices)]:
        _allow_beneath(ruleset, path, rights)
    prctl(38, 1)
    check(libc.syscall(446, ctypes.c_int(ruleset), ctypes.c_uint(0)), "landlock_restrict_self")
    os.close(ruleset)


def _allow_beneath(ruleset: int, path: str, rights: int) -> None:
    if not os.path.isdir(path):
        rights &= ~0b1000  # a plain file cannot be listed
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, parent)
    check(libc.syscall(445, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)), f"landlock rule {path}")
    os.close(parent)


def seccomp(*, alone: bool) -> None:
    """Refuse the system calls in FORBIDDEN; ``alone`` (no namespaces) also new processes and signals to others."""
    column = machine()
    denied, refuse = [], _statement(0x06, 0x00050000 | errno.EPERM)
    for numbers in [*FORBIDDEN.values(), *(FORBIDDEN_ALONE.values() if alone else ())]:
        if numbers[column] >= 0:
            denied += [_jump(0x15, numbers[column], 0, 1), refuse]
    program = [
        _statement(0x20, 4), _jump(0x15, AUDIT_ARCH[column], 1, 0), _statement(0x06, 0x80000000),
        _statement(0x20, 0), _jump(0x35, 0x40000000, 0, 1), refuse,  # the x32 calls
        *denied,
        _jump(0x15, CLONE3[column], 0, 1), _statement(0x06, 0x00050000 | errno.ENOSYS),  # libc then uses clone
        *_if_argument(PRCTL[column], 0x15, 1, refuse_when=True),  # PR_SET_PDEATHSIG
        *_if_argument(CLONE[column], 0x45, 0x7E020000, refuse_when=True),
    ]  # fmt: skip
    if alone:
        program += _if_argument(CLONE[column], 0x45, CLONE_THREAD, refuse_when=False)
        program += _if_argument(PRLIMIT[column], 0x15, 0, refuse_when=False)
        for numbers in (KILL, TGKILL):
            program += _if_argument(numbers[column], 0x15, os.getpid(), refuse_when=False)
    program.append(_statement(0x06, 0x7FFF0000))
    _install(b"".join(program), len(program))


def _statement(code: int, value: int) -> bytes:
    return struct.pack("HBBI", code, 0, 0, value)


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def _if_argument(number: int, test: int, value: int, *, refuse_when: bool) -> list[bytes]:
    """Refuse system call ``number`` when its first argument passes, or fails, ``test`` against ``value``."""
    return [
        _jump(0x15, number, 0, 4),
        _statement(0x20, 16),
        _jump(test, value, 0, 1) if refuse_when else _jump(test, value, 1, 0),
        _statement(0x06, 0x00050000 | errno.EPERM),
        _statement(0x20, 0),
    ]


def _install(program: bytes, length: int) -> None:
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("HxxxxxxP", length, ctypes.addressof(code))
    prctl(38, 1)
    prctl(22, 2, filters)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def become(user: int) -> None:
    """Leave root for an unprivileged user of this number."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def open_the_way(paths: Iterable[str]) -> None:
    """As root, in mounts of our own: make ``paths`` reachable for everybody, and hide what lies beside them.

    An interpreter in root's home stands behind a door that only root may pass; the sandbox never runs as root.
    """
    closed: dict[str, list[str]] = {}
    for path in sorted({os.path.realpath(path) for path in paths}):
        door = next((str(p) for p in [*reversed(Path(path).parents), path] if not os.stat(p).st_mode & 1), None)
        if door:
            closed.setdefault(door, []).append(path)
    if not closed:  # nothing to do, so a container that may not mount does not matter
        return
    unshare(NEW_MOUNTS)
    mount("none", "/", "none", RECURSIVE | PRIVATE)
    for door, wanted in closed.items():
        handles = [(path, os.open(path, os.O_PATH)) for path in wanted]
        mount("tmpfs", door, "tmpfs", NO_SUID | NO_DEVICES, "mode=755,size=1m")
        for path, handle in handles:
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{handle}", path, "none", BIND | RECURSIVE)
            os.close(handle)
