"""TUN devices: interfaces whose other end is a file descriptor."""

import fcntl
import os
import struct

from trio_p2p._lab.namespaces import NamespacesUnavailableError

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000


def open_tun_device(name: str) -> int:
    """Make a TUN device in the namespace of this thread."""
    device = open_tun()
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)  # struct ifreq
    fcntl.ioctl(device, _TUNSETIFF, request)
    return device


def open_tun() -> int:
    """Open what becomes a TUN device."""
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NamespacesUnavailableError(
            f"The userspace internet needs /dev/net/tun ({error.strerror}): load the kernel module "
            "tun, or run as root."
        ) from error
