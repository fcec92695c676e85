"""The routers on the way, by UDP probes of one constant flow and the ICMP errors that they cause.

All probes have the same addresses and ports, so that routers which share flows over several links send all
of them the same way (the rule of Paris traceroute). It needs no privilege.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Any

from perfagent import icmp, sockets

_PATIENCE_S = 1.0
_LEAST_PATIENCE_S = 0.2
_SILENT_HOPS = 4
"""After so many hops in a row that answer nothing, the rest is silent too."""

_PROBE = struct.Struct("!4sHH")
_MAGIC = b"phop"


class Trace:
    """Finds the hops from ``source`` to UDP ``port`` of ``peer``."""

    def __init__(self, peer: str, source: str, port: int) -> None:
        """Raises Fault(ADDRESS, NOT_PERMITTED)."""
        self._peer = peer
        self._socket = sockets.bind_udp(source)
        icmp.watch_errors(self._socket)
        self._socket.connect_ex((peer, port))  # without a route no probe can be sent, and no hop answers
        self.source_port: int = self._socket.getsockname()[1]
        self._sent_s: dict[tuple[int, int], float] = {}
        self._answers: dict[int, list[dict[str, Any]]] = {}
        self._slowest_s = 0.0
        self._refused = False
        self.reached = False

    def close(self) -> None:
        self._socket.close()

    def run(self, max_ttl: int, tries: int) -> list[dict[str, Any]]:
        """``[{"ttl", "answers": [{"address", "rtt_ns", "icmp"}]}]`` up to the peer, in order of distance."""
        silent = 0
        for ttl in range(1, max_ttl + 1):
            self._answers[ttl] = []
            for attempt in range(tries):
                self._probe(ttl, attempt)
            silent = 0 if self._answers[ttl] else silent + 1
            if self.reached or self._refused or silent == _SILENT_HOPS:
                break
        return [{"ttl": ttl, "answers": answers} for ttl, answers in self._answers.items()]

    def _probe(self, ttl: int, attempt: int) -> None:
        """One probe at a time: a router limits how many errors it sends."""
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        self._sent_s[ttl, attempt] = sent_s = time.monotonic()
        try:
            self._socket.send(_PROBE.pack(_MAGIC, ttl, attempt))
        except OSError:
            return  # no route, or the error of an earlier probe: an answer less
        patience_s = max(_LEAST_PATIENCE_S, 4 * self._slowest_s) if self._slowest_s else _PATIENCE_S
        before = len(self._answers[ttl])
        while len(self._answers[ttl]) == before:
            left_s = sent_s + min(patience_s, _PATIENCE_S) - time.monotonic()
            if left_s <= 0 or not select.select([self._socket], [], [], left_s)[0]:
                return
            self._collect((ttl, attempt))

    def _collect(self, current: tuple[int, int]) -> None:
        """Book what has come; the probe is told by its payload, where the router quotes that much of it."""
        now_s = time.monotonic()
        error = icmp.next_error(self._socket)
        if error is not None:
            self.reached |= error.sender == self._peer
            self._refused |= error.name != "time exceeded"  # it goes no further, and says so for each larger TTL
            self._book(self._which(error.payload, current), error.sender, error.name, now_s)
            return
        try:
            payload = self._socket.recv(2048)
        except OSError:
            return  # the error that came with the queue's
        self.reached = True
        self._book(self._which(payload, current), self._peer, "udp echo", now_s)

    def _which(self, payload: bytes, current: tuple[int, int]) -> tuple[int, int]:
        if len(payload) >= _PROBE.size and payload.startswith(_MAGIC):
            _magic, ttl, attempt = _PROBE.unpack_from(payload)
            if (ttl, attempt) in self._sent_s:
                return ttl, attempt
        return current

    def _book(self, probe: tuple[int, int], address: str, name: str, now_s: float) -> None:
        rtt_s = now_s - self._sent_s[probe]
        self._slowest_s = max(self._slowest_s, rtt_s)
        self._answers[probe[0]].append({"address": address, "rtt_ns": round(rtt_s * 1e9), "icmp": name})
