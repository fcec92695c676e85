"""A UDP load of our own: one direction, one port, in phases, with reports from the receiver on the way.

``packet``, ``phases``, ``search`` and ``seen`` see no socket and no clock; ``volley`` and ``batches`` are the two ways
in and out of the kernel; ``sending`` and ``receiving`` are the loops around them.
"""
