"""Connect standard input and output with a TCP port: an SSH ProxyCommand, run inside a namespace.

Usage: relay.py ADDRESS PORT. Standard library only, so that it starts in a few milliseconds.
"""

import os
import socket
import sys
import threading


def main(address: str, port: str) -> None:
    try:
        connection = socket.create_connection((address, int(port)), timeout=10)
    except OSError as error:
        sys.exit(f"perfharness lab: {address} port {port}: {error.strerror or error}")
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def outward() -> None:
        while data := os.read(0, 65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=outward, daemon=True).start()
    while data := connection.recv(65536):
        while data:
            data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
