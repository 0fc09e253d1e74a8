"""Network namespaces without names, held by nothing but file descriptors of this process.

So nothing is left behind however the process ends, and any number of them can stand side by side.
"""

import ctypes
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# linux/sched.h, linux/capability.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAP_NET_ADMIN = 12
_CAP_SYS_ADMIN = 21

# Debian keeps both tools where the PATH of a normal user does not look.
_TOOL_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
_PACKAGES = {"ip": "iproute2", "nft": "nftables"}

_libc = ctypes.CDLL(None, use_errno=True)


class NamespacesUnavailableError(Exception):
    """This machine does not let us make network namespaces; the text says what to do about it."""


def enter_user_namespace_if_needed() -> None:
    """Make this process able to create network namespaces, if it is not yet.

    Without the privilege it moves into a user namespace of its own, in which it is root. Linux
    allows that to single-threaded processes only.
    """
    missing = [package for tool, package in _PACKAGES.items() if not _has_tool(tool)]
    if missing:
        raise NamespacesUnavailableError(
            f"The tools of the Debian packages {' and '.join(_PACKAGES.values())} are needed: "
            f"install {' and '.join(missing)}."
        )
    if _has_capabilities(_CAP_NET_ADMIN, _CAP_SYS_ADMIN):
        return
    user, group = os.geteuid(), os.getegid()
    try:
        _check(_libc.unshare(_CLONE_NEWUSER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise NamespacesUnavailableError(
                "This process has several threads already, and only a single thread can enter a "
                "user namespace: run as root, or in `unshare --user --map-root-user`."
            ) from error
        raise NamespacesUnavailableError(
            f"Unprivileged user namespaces are switched off ({error.strerror}): run as root, or "
            "allow them (sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, "
            "kernel.unprivileged_userns_clone=1 on Debian)."
        ) from error


class Namespace:
    """A network namespace without a name, with its loopback interface up."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._descriptor = start_thread(_open_new_network_namespace, name=label).result()
        self.ip("link set lo up")

    def __repr__(self) -> str:
        return f"<Namespace {self.label}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the namespace; it ends with the last thread, process and socket in it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def path(self) -> str:
        """What names the namespace to other processes, as in ``ip link set lan netns PATH``."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def submit(self, function: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        """Start a synchronous function in a new thread inside the namespace."""

        def enter_and_run() -> T:
            _check(_libc.setns(self._descriptor, _CLONE_NEWNET))
            return function(*args)

        return start_thread(enter_and_run, name=self.label)

    def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a synchronous function inside the namespace; its sockets belong there for good."""
        return self.submit(function, *args).result()

    def command(self, *argv: str, stdin: str = "") -> str:
        """Run a program inside the namespace to its end and return what it printed."""

        def run() -> subprocess.CompletedProcess[str]:
            environment = {**os.environ, "PATH": _TOOL_PATH}
            return subprocess.run(
                argv, input=stdin, env=environment, capture_output=True, text=True, check=False
            )

        finished = self.call(run)
        try:
            finished.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(f"In {self}: {finished.stderr}")
            raise
        return finished.stdout

    def ip(self, *lines: str) -> None:
        """Run several ``ip`` commands in one process."""
        self.command("ip", "-batch", "-", stdin="\n".join(lines))

    def sysctl(self, settings: Mapping[str, int]) -> None:
        """Write settings, named by their paths below /proc/sys/net."""

        def write() -> None:
            for name, value in settings.items():
                Path("/proc/sys/net", name).write_text(str(value))

        try:
            self.call(write)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise NamespacesUnavailableError(
                "/proc/sys is read-only in this container: start it with `--privileged`."
            ) from error


def start_thread(function: Callable[[], T], *, name: str) -> Future[T]:
    """Start a function in a new thread, which ends with the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - raised where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _open_new_network_namespace() -> int:
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
    except OSError as error:
        raise NamespacesUnavailableError(
            f"The kernel refuses network namespaces ({error.strerror}): run as root, in a "
            "container with the capabilities SYS_ADMIN and NET_ADMIN."
        ) from error
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _has_tool(name: str) -> bool:
    return shutil.which(name, path=_TOOL_PATH) is not None


def _has_capabilities(*numbers: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(effective >> number & 1 for number in numbers)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
