"""The virtual Express Connect: network namespaces, real sshd, and a circuit that can be impaired.

::

    ph-onprem ── ph-core ── ph-ce-a ══ circuit ══ ph-vbr-a ── ph-vpc ── ph-ecs
      eth0                     wan                  wan                   eth0

A second host of a site (``ph-onprem-b``, ``ph-ecs-b``) is there if the order has one; the LAN is a bridge then. An
order that names a companion gets a second circuit, from ``ph-ce-b`` to ``ph-vbr-b``, and BGP decides between them:
``routing`` says what the routers are told, ``frr`` runs them.

``control`` is the way in (up, down, status, truth, tune, fault, clear). ``spec`` says what to build, ``topology``
builds it, ``hosts`` puts sshd into the end hosts and CEs. A circuit is a veth pair that the kernel meters
(``shaping``) and, where it can, tags (``tagging``), a user-space ``wire`` that plays a ``line`` model in each
direction, or both, one behind the other; ``circuits`` changes that while the lab is up, to what ``score`` says.
``truth`` tells what one circuit did, ``account`` all of them and the faults. ``faults`` has what can be made wrong,
in three tables; ``trouble``, ``filters`` and ``link_flap`` are how.
``state`` remembers what was made, so that all of it can be removed.
"""
