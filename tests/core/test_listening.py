"""The listening socket that the controller opens and doctor tries, and what to do where it cannot be had."""

from __future__ import annotations

import errno
import socket

import pytest

from para_attn_server.core.listening import advice, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_clients_are_accepted_there(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with listen(host, 0) as listener:
        address, port = listener.getsockname()[:2]
        socket.create_connection((address, port), timeout=5).close()


def test_a_taken_address_names_the_port() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use") as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert "--port" in advice(caught.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine_names_the_host(host: str) -> None:
    with pytest.raises(OSError, match=r"assign|known|resolution|address") as caught:
        listen(host, 0)
    assert "--host" in advice(caught.value)


def test_a_port_that_needs_privileges_says_so() -> None:
    assert "privileges" in advice(PermissionError(errno.EACCES, "Permission denied"))
