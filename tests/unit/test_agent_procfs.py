"""perfagent.procfs: recorded /proc text becomes numbers, and what is not there stays absent."""

from __future__ import annotations

from perfagent import procfs

SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 3120
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn RetransSegs
Tcp: 1 200 120000 -1 17
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 5239 3 34858 5356 34858 0 0 0 0
"""

SNMP6 = """\
Ip6InReceives                   \t25
Icmp6OutDestUnreachs            \t4
Udp6InDatagrams                 \t12
Udp6RcvbufErrors                \t2
UdpLite6InDatagrams             \t9
"""

SOFTNET = """\
000c610b 000005b5 00000003 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
0009f27f 00000000 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001
"""

STAT = """\
cpu  17910 29 8351 351961 493 0 835 13 7 0
cpu0 5587 16 3381 180413 40 0 322 5 7 0
cpu1 12322 13 4970 171548 452 0 513 8 0 0
intr 1234 5 6
ctxt 99
"""

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 020200C0:1451 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1679 1 0000000063b259f2 100 0 0 10 0
   1: 020200C0:1451 010200C0:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1680 1 0000000063b259f2 20 4 30 10 -1
   2: 00000000:1452 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1681 1 0000000063b259f2 100 0 0 10 0
"""  # noqa: E501

TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: B80D0120000000000000000002000000:1451 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0
"""  # noqa: E501


def test_snmp_tables_are_read_by_their_header_lines() -> None:
    """Each pair of lines is one table, and negative values are numbers too."""
    tables = procfs.snmp(SNMP)
    assert tables["Udp"]["RcvbufErrors"] == 34858
    assert tables["Tcp"] == {"RtoAlgorithm": 1, "RtoMin": 200, "RtoMax": 120000, "MaxConn": -1, "RetransSegs": 17}


def test_snmp6_lines_are_sorted_into_tables() -> None:
    """UdpLite6 does not leak into Udp6, nor Icmp6 into Ip6."""
    assert procfs.snmp6(SNMP6) == {
        "Ip6": {"InReceives": 25},
        "Icmp6": {"OutDestUnreachs": 4},
        "Udp6": {"InDatagrams": 12, "RcvbufErrors": 2},
        "UdpLite6": {"InDatagrams": 9},
    }


def test_softnet_is_the_sum_over_the_cpus() -> None:
    """The columns are hexadecimal."""
    assert procfs.softnet(SOFTNET) == {"dropped": 0x5B5, "time_squeeze": 13, "by_cpu": {"0": 0x5B5}}


def test_cpu_keeps_steal_and_each_cpu() -> None:
    """Guest time, contained in user time already, is not counted twice."""
    seen = procfs.cpu(STAT)
    assert seen["total"] == dict(zip(procfs.CPU_FIELDS, (17910, 29, 8351, 351961, 493, 0, 835, 13), strict=True))
    per_cpu = seen["per_cpu"]
    assert isinstance(per_cpu, list)
    assert [each["steal"] for each in per_cpu] == [5, 8]


def test_a_missing_field_is_absent() -> None:
    """A kernel without steal gives rows without steal."""
    assert procfs.cpu("cpu  1 2 3 4\n")["total"] == {"user": 1, "nice": 2, "system": 3, "idle": 4}


def test_only_the_listener_on_exactly_this_address_counts() -> None:
    """A connection on the port, or a listener on all addresses or another port, is not our server."""
    assert procfs.listeners(TCP, "192.0.2.2", 5201) == {1679}
    assert procfs.listeners(TCP, "192.0.2.2", 5202) == set()
    assert procfs.listeners(TCP, "192.0.2.1", 5201) == set()


def test_ipv6_addresses_are_words_in_machine_order() -> None:
    """2001:db8::2 as /proc/net/tcp6 prints it."""
    assert procfs.listeners(TCP6, "2001:db8::2", 5201) == {77}


def test_chosen_leaves_out_what_does_not_exist() -> None:
    """A named table that the kernel lacks is not invented."""
    assert procfs.chosen(procfs.snmp(SNMP), ("Udp", "Sctp")).keys() == {"Udp"}
