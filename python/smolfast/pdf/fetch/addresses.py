"""Which addresses are connected to: those of the public network, by what a name resolves to at that moment."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from smolfast.pdf.fetch.outcome import PRIVATE, Failed

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_MOST_TRIED = 4
"""Addresses of a name, one after the other."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public network, and so does one of IPv4 that it carries inside."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        carried = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            carried = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if carried is not None and not is_public(str(carried)):
            return False
        if found.ipv4_mapped is not None:
            return True
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def connected(host: str, port: int, timeout: float, *, allow_private: bool) -> socket.socket:
    """A connection to a host. The address that was checked is the one connected to: the name isn't looked up again.

    Raises:
        Failed: no address of the host is public.
        OSError: no address answers.
    """
    error: OSError | None = None
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    allowed = [one for one in found if allow_private or is_public(one[4][0])]
    if not allowed:
        raise Failed(PRIVATE)
    for family, kind, protocol, _, address in allowed[:_MOST_TRIED]:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
            return connection
        except OSError as failed:
            connection.close()
            error = failed
    assert error is not None
    raise error
