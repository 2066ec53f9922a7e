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
READ_ONLY, NO_SUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18

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
    # memory that is no process's: it counts in no limit, and stays when its maker ends
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "socketpair": (53, 199),
    # a session of its own is a share of the processors of its own
    "setsid": (112, 157),
}  # fmt: skip
# Without namespaces also: what reaches other processes, or outlives this one.
FORBIDDEN_ALONE = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "setpgid": (109, 154), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "sched_setparam": (142, 118), "ioprio_set": (251, 30),
    "process_madvise": (440, 440), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, -1), "fchown": (93, 55),
    "lchown": (94, -1), "fchownat": (260, 54), "utimensat": (280, 88), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "fchmodat2": (452, 452),
}  # fmt: skip
CLONE, CLONE3, PRCTL, KILL, TGKILL, PRLIMIT = (56, 220), (435, 435), (157, 167), (62, 129), (234, 131), (302, 261)
FCNTL = (72, 25)
LOCKS = (6, 7, 37, 38)  # F_SETLK, F_SETLKW, F_OFD_SETLK and its W: the kernel keeps each range that is locked
CLONE_THREAD, CLONE_NEW_NAMESPACES, X32_CALLS, ITSELF = 0x00010000, 0x7E020000, 0x40000000, 0
AUDIT_ARCH = (0xC000003E, 0xC00000B7)

# A seccomp filter is a program of these instructions over one system call: linux/bpf_common.h, linux/seccomp.h.
LOAD, RETURN, EQUAL, AT_LEAST, ANY_BIT = 0x20, 0x06, 0x15, 0x35, 0x45  # BPF_LD|W|ABS, _RET, _JMP|_JEQ, _JGE, _JSET
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where these lie in struct seccomp_data
ALLOW, FAIL_WITH, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 36, 38
SECCOMP_MODE_FILTER = 2

# linux/landlock.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, BENEATH_PATH = 444, 445, 446, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1, 2, 4, 8


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


def prctl(option: int, value: int, third: int = 0) -> int:
    zero = ctypes.c_ulong(0)
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
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:  # there are no more
            break
    header, data = struct.pack("Ii", 0x20080522, 0), bytes(24)
    check(libc.capset(header, data), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def limit(*, memory: int, seconds: int, processes: int | None, file_bytes: int) -> None:
    """Hard limits of this process and of each of its children."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 1 << 16,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
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
    abi = _landlock("this kernel has no Landlock", CREATE_RULESET, None, ctypes.c_size_t(0), flags=1)
    files = (1 << {1: 13, 2: 14}.get(abi, 15)) - 1 | (1 << 15 if abi >= 5 else 0)
    attributes = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _landlock("a Landlock ruleset", CREATE_RULESET, attributes, ctypes.c_size_t(size))
    read, read_and_write = EXECUTE | READ_FILE | READ_FOLDER, WRITE_FILE | READ_FILE
    for path, rights in [*((path, read) for path in readable), *((path, read_and_write) for path in devices)]:
        _allow_beneath(ruleset, path, rights)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _landlock("restricting this process", RESTRICT_SELF, ctypes.c_int(ruleset))
    os.close(ruleset)


def _allow_beneath(ruleset: int, path: str, rights: int) -> None:
    if not os.path.isdir(path):
        rights &= ~READ_FOLDER  # a plain file cannot be listed
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", rights, parent)
    _landlock(f"a Landlock rule for {path}", ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(BENEATH_PATH), rule)
    os.close(parent)


def _landlock(what: str, call: int, *arguments: object, flags: int = 0) -> int:
    return check(libc.syscall(call, *arguments, ctypes.c_uint(flags)), what)


def seccomp(*, alone: bool) -> None:
    """Refuse the system calls in FORBIDDEN; ``alone`` (no namespaces) also new processes and signals to others."""
    column = machine()
    program = [
        _statement(LOAD, ARCHITECTURE), _jump(EQUAL, AUDIT_ARCH[column], 1, 0), _statement(RETURN, KILL_PROCESS),
        _statement(LOAD, NUMBER), _jump(AT_LEAST, X32_CALLS, 0, 1), REFUSE,
    ]  # fmt: skip
    for numbers in [*FORBIDDEN.values(), *(FORBIDDEN_ALONE.values() if alone else ())]:
        if numbers[column] >= 0:
            program += [_jump(EQUAL, numbers[column], 0, 1), REFUSE]
    program += [_jump(EQUAL, CLONE3[column], 0, 1), _statement(RETURN, FAIL_WITH | errno.ENOSYS)]  # libc then clones
    program += _if_argument(PRCTL[column], EQUAL, PR_SET_PDEATHSIG, refuse_when=True)
    program += _if_argument(CLONE[column], ANY_BIT, CLONE_NEW_NAMESPACES, refuse_when=True)
    for command in LOCKS:
        program += _if_argument(FCNTL[column], EQUAL, command, refuse_when=True, place=1)
    if alone:
        program += _if_argument(CLONE[column], ANY_BIT, CLONE_THREAD, refuse_when=False)
        program += _if_argument(PRLIMIT[column], EQUAL, ITSELF, refuse_when=False)
        for numbers in (KILL, TGKILL):
            program += _if_argument(numbers[column], EQUAL, os.getpid(), refuse_when=False)
    program.append(_statement(RETURN, ALLOW))
    _install(b"".join(program), len(program))


def _statement(code: int, value: int) -> bytes:
    return struct.pack("HBBI", code, 0, 0, value)


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    """Compare what was loaded with ``value``; skip ``yes`` instructions where it holds, else ``no``."""
    return struct.pack("HBBI", code, yes, no, value)


REFUSE = _statement(RETURN, FAIL_WITH | errno.EPERM)


def _if_argument(number: int, test: int, value: int, *, refuse_when: bool, place: int = 0) -> list[bytes]:
    """Refuse system call ``number`` when its argument at ``place`` passes, or fails, ``test`` against ``value``."""
    return [
        _jump(EQUAL, number, 0, 4),
        _statement(LOAD, FIRST_ARGUMENT + 8 * place),
        _jump(test, value, 0, 1) if refuse_when else _jump(test, value, 1, 0),
        REFUSE,
        _statement(LOAD, NUMBER),
    ]


def _install(program: bytes, length: int) -> None:
    code = ctypes.create_string_buffer(program)
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", length, ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(filters))


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
        steps = [*reversed(Path(path).parents), Path(path)]
        door = next((str(step) for step in steps if not step.stat().st_mode & 1), None)
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
