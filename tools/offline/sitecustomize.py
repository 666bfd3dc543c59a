"""Keep chapters on this machine: on PYTHONPATH, it refuses every connection but loopback."""

from pytest_socket import socket_allow_hosts

socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
