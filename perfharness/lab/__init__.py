"""The virtual Express Connect: network namespaces, real sshd, and a circuit that can be impaired.

::

    ph-onprem ── ph-core ── ph-ce-a ══ circuit ══ ph-vbr-a ── ph-vpc ── ph-ecs
      eth0                     wan                  wan                   eth0

A second host of a site (``ph-onprem-b``, ``ph-ecs-b``) is there if the order has one; the LAN is a bridge then.

``control`` is the way in (up, down, status, truth, tune, fault, clear). ``spec`` says what to build, ``topology``
builds it, ``hosts`` puts sshd into the end hosts. The circuit is a veth pair that the kernel meters (``shaping``), a
user-space ``wire`` that plays a ``line`` model in each direction, or both, one behind the other; ``truth`` tells what
it did. ``faults`` has what can be made wrong, ``trouble`` how with hosts. ``state`` remembers what was made, so that
all of it can be removed.
"""
