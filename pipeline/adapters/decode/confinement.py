"""Confines a process with Linux resource limits and a filter of its system calls.

Called once everything that the process will ever need is loaded. Afterwards the process can
compute, allocate up to its limit and talk over its open descriptors, and nothing else. It cannot
open a file (such as its parent's ``/proc/…/environ`` with the credentials), create or reach a
socket (the cloud's metadata service), start, signal or trace a process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# Classic BPF, linux/filter.h and linux/seccomp.h: struct sock_filter { u16 code; u8 jump_true;
# u8 jump_false; u32 operand }, over struct seccomp_data { int nr; u32 arch; … }.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20
_JUMP_IF_EQUAL = 0x15
_AND = 0x54
_RETURN = 0x06
_NUMBER_OFFSET = 0
_ARCHITECTURE_OFFSET = 4
_FIRST_ARGUMENT_OFFSET = 16  # its lower half: both processors are little-endian
_ALLOW = 0x7FFF0000
_FAIL = 0x00050000  # plus the errno that the call then fails with
_KILL_PROCESS = 0x80000000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* by ``uname -m``."""

# System calls for reading a socket, computing, allocating and ending: numbers on x86_64 and on
# aarch64, from the kernel's unistd_64.h and asm-generic/unistd.h. None of them names a file, an
# address or another process. fork, clone, kill, prlimit64 and every way to get a new descriptor are
# missing.
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "exit": (60, 93),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
}

# System calls of a library that starts threads of its own, in addition to `clone` with the flags of
# a thread.
_ALLOWED_TO_THREADS = {
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
"""Its flags are in memory, where no filter can read them. C libraries whose `clone3` fails with
ENOSYS call `clone`."""

_THREAD_FLAGS = 0x003D0F00
"""The flags of pthread_create: everything is shared with the process, in the same thread group."""
_OBSOLETE_FLAG = 0x00400000
"""CLONE_DETACHED, which musl adds and the kernel ignores."""

_STANDARD_DESCRIPTORS = 3


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def confine(
    *, memory_bytes: int, lifetime_cpu_s: int, parent_pid: int, threads: bool = False
) -> bool:
    """Confine this process permanently.

    The process ends when ``parent_pid`` ends (more exactly, the parent's thread that started it).
    It is limited to ``memory_bytes`` of address space and ``lifetime_cpu_s`` of CPU time in all. It
    writes no file and no core, opens no descriptor beyond the standard three, starts neither
    process nor thread, and gains no privilege. With ``threads`` it may start threads if the kernel
    filters its system calls; the threads are confined alike.

    Returns:
        Whether the kernel filters the system calls too: False on a processor other than x86_64 and
            aarch64, or a kernel without seccomp. The limits hold either way.

    Raises:
        OSError: a limit was refused, or this is not Linux.
        ProcessLookupError: the parent ended before the process could be tied to it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _control(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise ProcessLookupError(errno.ESRCH, "confinement: the parent has ended")
    _control(libc, _PR_SET_NO_NEW_PRIVS, 1)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, lifetime_cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _STANDARD_DESCRIPTORS),
    ):
        _limit(limit, value)
    if not threads:
        _limit(resource.RLIMIT_NPROC, 0)
    filtered = _filter_system_calls(libc, threads=threads)
    if threads and not filtered:  # then only this limit keeps it from starting processes
        _limit(resource.RLIMIT_NPROC, 0)
    return filtered


def _limit(kind: int, value: int) -> None:
    """Set soft and hard limit. A lower hard limit of the surroundings stays."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _filter_system_calls(libc: ctypes.CDLL, *, threads: bool) -> bool:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        return False
    code = filter_code(machine, threads=threads)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    try:
        _control(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))
    except OSError as error:
        if error.errno == errno.EINVAL:  # built without CONFIG_SECCOMP_FILTER
            return False
        raise
    return True


def filter_code(machine: str, *, threads: bool = False) -> bytes:
    """The filter as BPF code: allowed calls pass, others fail with EPERM, and a call in another
    architecture's numbering ends the process."""
    column = list(_ARCHITECTURES).index(machine)
    allowed = _ALLOWED | (_ALLOWED_TO_THREADS if threads else {})
    numbers = [pair[column] for pair in allowed.values()]
    code = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_OFFSET),
        (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
    ]
    if threads:
        code += [
            (_JUMP_IF_EQUAL, 0, 1, _CLONE3[column]),
            (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
            (_JUMP_IF_EQUAL, 0, 5, _CLONE[column]),
            (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT_OFFSET),
            (_AND, 0, 0, 0xFFFFFFFF ^ _OBSOLETE_FLAG),
            (_JUMP_IF_EQUAL, 0, 1, _THREAD_FLAGS),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
        ]
    # A match jumps over the remaining comparisons and the refusal after them.
    code += [
        (_JUMP_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)
    ]
    code += [(_RETURN, 0, 0, _FAIL | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


def _control(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    """prctl(2), which is variadic: every argument must be passed as an unsigned long."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    if libc.prctl(option, *(ctypes.c_ulong(argument) for argument in padded)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"confinement: prctl({option}): {os.strerror(number)}")
