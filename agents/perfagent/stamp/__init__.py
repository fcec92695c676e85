"""STAMP without I/O: bytes and times in, bytes and verdicts out (RFC 8762, RFC 8972).

``times``       timestamps and error estimates
``packet``      base packets, unauthenticated and authenticated
``tlv``         extensions
``sending``     the sender's session: what is a reply, what is not
``reflecting``  the reflector's: what is answered, and how

Standard library only, and nothing of it that touches a socket or a clock: the coordinator may import all of this.
"""
