"""The coordinator's end of the conversation, over a channel in memory."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

import pytest

from perfagent import wire
from perfharness.errors import AgentError, HostLost
from perfharness.fleet.rpc import Client


class Memory:
    """A channel whose far end is the test."""

    def __init__(self) -> None:
        self.sent: queue.Queue[bytes] = queue.Queue()
        self.coming: queue.Queue[bytes] = queue.Queue()

    def sendall(self, data: bytes) -> None:
        self.sent.put(data)

    def recv(self, size: int) -> bytes:
        try:
            return self.coming.get(timeout=0.05)
        except queue.Empty:
            raise TimeoutError from None

    def close(self) -> None:
        self.coming.put(b"")


class Conversation:
    def __init__(self) -> None:
        self.channel = Memory()
        self.events: list[wire.Event] = []
        self.lost = threading.Event()
        self.client = Client("h", self.channel, self.events.append, self.lost.set)

    def ask_in_background(self, method: str) -> tuple[threading.Thread, list[Any]]:
        answers: list[Any] = []

        def ask() -> None:
            try:
                answers.append(self.client.call(method))
            except (AgentError, HostLost) as error:
                answers.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        return thread, answers

    def heard(self) -> dict[str, Any]:
        request: dict[str, Any] = json.loads(self.channel.sent.get(timeout=5))
        return request

    def say(self, *messages: wire.Answer) -> None:
        self.channel.coming.put(b"".join(wire.encode(message) for message in messages))


@pytest.fixture
def talk() -> Any:
    conversation = Conversation()
    yield conversation
    conversation.client.close()


def test_answers_find_their_callers(talk: Conversation) -> None:
    """Two requests at once, answered in the other order, with an event in between."""
    first, firsts = talk.ask_in_background("status")
    one = talk.heard()
    second, seconds = talk.ask_in_background("hello")
    two = talk.heard()
    event = wire.Event("live", "j", {"x": 1})
    talk.say(wire.Reply(two["id"], "for hello"), event, wire.Reply(one["id"], "for status"))
    first.join()
    second.join()
    assert (firsts, seconds, talk.events) == (["for status"], ["for hello"], [event])


def test_errors_keep_their_code(talk: Conversation) -> None:
    """A failure becomes an AgentError that names the host."""
    thread, answers = talk.ask_in_background("start")
    talk.say(wire.Failure(talk.heard()["id"], wire.Code.PORT_IN_USE, "port 5201 is taken"))
    thread.join()
    assert (answers[0].code, str(answers[0])) == (25, "h: port 5201 is taken")


def test_silence_is_a_loss(talk: Conversation) -> None:
    """An agent that does not answer in time is lost, for everybody and for good."""
    with pytest.raises(HostLost, match="did not answer `status`"):
        talk.client.call("status", deadline_s=0.05)
    with pytest.raises(HostLost):
        talk.client.call("status")
    assert talk.lost.is_set()


@pytest.mark.parametrize("garbage", [b"", b"not json\n", b'{"id":1}\n', b"x" * (wire.MAX_LINE + 1)])
def test_the_end_reaches_everybody_who_waits(talk: Conversation, garbage: bytes) -> None:
    """End of stream, garbage and an endless line end the conversation for each waiting caller."""
    waiting = [talk.ask_in_background("status") for _ in range(3)]
    for _ in waiting:
        talk.heard()
    talk.channel.coming.put(garbage)
    for thread, answers in waiting:
        thread.join()
        assert isinstance(answers[0], HostLost)


def test_a_failure_without_id_is_of_the_whole_session(talk: Conversation) -> None:
    """What the agent says before it can serve reaches whoever asked first."""
    thread, answers = talk.ask_in_background("hello")
    talk.heard()
    talk.say(wire.Failure(0, wire.Code.HOST_BUSY, "run x is here"))
    thread.join()
    assert answers[0].code == wire.Code.HOST_BUSY


def test_a_connection_that_breaks_while_we_send_is_a_loss(talk: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko says EOFError when it is first to notice a cut: the thread that keeps the lease must live on."""

    def broken(_data: bytes) -> None:
        raise EOFError

    monkeypatch.setattr(talk.channel, "sendall", broken)
    monkeypatch.setattr(talk.channel, "close", lambda: broken(b""))
    with pytest.raises(HostLost):
        talk.client.call("renew")
    assert talk.lost.is_set()
