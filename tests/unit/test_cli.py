"""How the program ends: each way out has its exit code, and none of them is mistaken for a verdict."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from perfharness import cli
from perfharness.errors import Exit, HostLost


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def raising(error: BaseException) -> Callable[..., int]:
    def app(**_: object) -> int:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a bug"), Exit.HARNESS),
        (OSError(28, "No space left on device", "results/x"), Exit.HARNESS),
        (BrokenPipeError(), Exit.HARNESS),
        (KeyboardInterrupt(), Exit.INCONCLUSIVE),
        (HostLost("host-a", "it went"), Exit.HOST),
    ],
)
def test_no_error_is_a_verdict(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: Exit) -> None:
    """Python's own exit code for an error is 1, and 1 says that the circuit failed."""
    monkeypatch.setattr(cli, "app", raising(error))
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert cli._exit_code() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_is_an_interrupt(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """A cancelled pipeline and a closed terminal leave the hosts as tidily as Ctrl-C; under nohup it goes on."""

    def hit(**_: object) -> int:
        os.kill(os.getpid(), number)
        return 0

    monkeypatch.setattr(cli, "app", hit)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    for handler, code in ((signal.SIG_DFL, Exit.INCONCLUSIVE), (signal.SIG_IGN, Exit.PASS)):
        signal.signal(number, handler)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code


def test_a_host_cannot_speak_to_the_terminal() -> None:
    """What a host said goes into our sentences without its escape sequences."""
    assert str(HostLost("host-a", "it said \x1b]0;owned\x07 and\r\nwent")) == "host-a: it said ?]0;owned? and?\nwent"
