"""Whether a vendor's address is on this machine: what is reached there must not go through a proxy of the
environment."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

_NAMES: Final = frozenset({"localhost", "localhost.localdomain"})


def on_this_machine(url: str) -> bool:
    """Whether the URL's host is a loopback address or its usual name."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _NAMES
