"""Sizes of packets and classes of service, as they are written in a scenario."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic_core import PydanticCustomError

from perfharness.order.dscp import class_name, number
from perfharness.order.packets import frame_bytes, packets


@pytest.mark.parametrize(
    ("written", "payloads"),
    [
        ("64B", (64,)),
        (64, (64,)),
        (["64B", "1400B", "64B"], (64, 1400, 64)),
        ("imix g", (1472,)),
        ("imix abz", (44, 82, 1472)),
        ("imix aa d  ef", (44, 44, 466, 978, 1234)),
    ],
)
def test_sizes_are_payloads_and_genomes_are_frames(written: object, payloads: tuple[int, ...]) -> None:
    """A size is the UDP payload; a letter of RFC 6985 is a frame with FCS, z the ordered MTU's; their order is kept."""
    assert packets(written).payloads(mtu=1500) == payloads


def test_the_simple_mix_is_seven_to_four_to_one() -> None:
    """64, 594 and 1518 bytes of frame; STAMP does not fit into the smallest, which becomes 90."""
    frames = Counter(map(frame_bytes, packets("imix").payloads(1500)))
    assert frames == {90: 7, 594: 4, 1518: 1}


@pytest.mark.parametrize("written", ["imix abcx", "imix " + "a" * 65, [], ["64B"] * 65, [["64B"]], "43", "8973", "x"])
def test_other_sizes_are_refused(written: object) -> None:
    """What cannot be sent, or is no genome, gets a sentence."""
    with pytest.raises(PydanticCustomError):
        packets(written)


NAMED = {
    "EF": (46, "EF"),
    "af41": (34, "AF41"),
    "AF13": (14, "AF13"),
    "CS7": (56, "CS7"),
    "LE": (1, "LE"),
    "VA": (44, "VOICE-ADMIT"),
    **dict.fromkeys(("BE", "DF", "CS0", "0"), (0, "BE")),
    "46": (46, "EF"),
    **dict.fromkeys(("7", "DSCP 7"), (7, "DSCP 7")),
}


@pytest.mark.parametrize(("text", "meant"), NAMED.items())
def test_a_class_has_one_name(text: str, meant: tuple[int, str]) -> None:
    """However it is written, its number and the name in front of a reader are those of IANA's registry."""
    assert (number(text), class_name(number(text))) == meant


@pytest.mark.parametrize("text", ["", "64", "-1", "AF44", "CS8", "EF+", "4 6", "²"])
def test_no_class_is_invented(text: str) -> None:
    """A name that the registry does not have is refused."""
    with pytest.raises(PydanticCustomError, match="no class of service"):
        number(text)
