"""The virtual Express Connect: network namespaces, real sshd, and a circuit that can be impaired.

::

    ph-onprem ── ph-core ── ph-ce-a ══ circuit ══ ph-vbr-a ── ph-vpc ── ph-ecs
      eth0                     wan                  wan                   eth0

``control`` is the way in (up, down, status, truth, tune). ``spec`` says what to build, ``topology`` builds
it, ``hosts`` puts sshd into the end hosts. The circuit is a veth pair with kernel shaping (``shaping``) or
a user-space ``wire`` that plays a ``line`` model in each direction; ``truth`` tells what it did. ``state``
remembers what was made, so that all of it can be removed.
"""
