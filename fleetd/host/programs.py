"""Programs of the control node that act on a host: what unlocks its disk, what switches its power off and on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from fleetd.model.duration import format_duration
from fleetd.model.fleet import Host
from fleetd.model.program import ControlCommand, ProgramEnd
from fleetd.process import ChildOutputTooLong, ChildTimeout, plain, run

OUTPUT_LIMIT_BYTES = 1024 * 1024
"""More than any tool of this kind says; one that goes on and on is ended."""

TAIL_BYTES = 4096
"""What of it is kept for people."""

SHORTEST_SECRET = 4
"""Lines of a file of secrets that are shorter would be found in any text."""

SECRET_LIMIT_BYTES = 64 * 1024
HIDDEN = "[hidden]"


class ControlPrograms:
    """What ``executor.power`` runs. Of a command only the program's name is ever shown: its words may be secret."""

    async def run(self, command: ControlCommand, host: Host, env: Mapping[str, str] | None = None) -> ProgramEnd:
        """Run one to its end, or until its time is over; its whole process group ends with it. ``env`` comes on top."""
        words = words_of(command.argv, host)
        name, tail, secrets = Path(words[0]).name, Tail(), list[str]()
        try:
            with ExitStack() as opened:
                given = None
                if command.stdin is not None:
                    given = opened.enter_context(_opened(command.stdin))
                    secrets = _lines(given)
                done = await run(
                    words,
                    timeout_s=command.timeout_s,
                    env=env,
                    output_limit_bytes=OUTPUT_LIMIT_BYTES,
                    stdin=given,
                    seen=tail.feed,
                    heard=tail,
                )
        except ChildTimeout:
            return ProgramEnd(
                False, f"{name} did not end within {format_duration(command.timeout_s)}", tail.text(secrets)
            )
        except ChildOutputTooLong:
            return ProgramEnd(False, f"{name} wrote too much, and was ended", tail.text(secrets))
        except OSError as error:
            of = f": {error.filename}" if error.filename == command.stdin else ""
            return ProgramEnd(False, f"{name} cannot be started: {error.strerror}{of}", "")
        return ProgramEnd(done.status == 0, f"{name} ended with {done.status}", tail.text(secrets))


class Tail:
    """The end of what a program writes, wherever to."""

    def __init__(self) -> None:
        self._bytes = b""
        self._is_cut = False

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        self._is_cut = self._is_cut or len(self._bytes) + len(piece) > TAIL_BYTES
        self._bytes = (self._bytes + piece)[-TAIL_BYTES:]

    def close(self) -> None:
        """There is no more."""

    def message(self) -> str:
        """What went wrong is in the status."""
        return ""

    def text(self, secrets: list[str]) -> str:
        """Return it as plain text, with nothing of what the program was given."""
        text = plain(self._bytes.decode("utf-8", errors="replace"))
        if self._is_cut:
            text = text[max((_left_of(secret, text) for secret in secrets), default=0) :]
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        return text.strip()


def _left_of(secret: str, text: str) -> int:
    """Return how much at the beginning of a text may be the end of a secret, which would not be known for one."""
    return next((length for length in range(len(secret) - 1, 0, -1) if text.startswith(secret[-length:])), 0)


def words_of(argv: Sequence[str], host: Host) -> list[str]:
    """Return the words of a command with ``{name}``, ``{address}`` and ``{port}`` of the host filled in."""
    address = next(iter(host.network_addresses), host.name)
    known = {"{name}": host.name, "{address}": address, "{port}": str(host.port)}
    words = list(argv)
    for word, value in known.items():
        words = [each.replace(word, value) for each in words]
    return words


def _opened(file: str) -> BinaryIO:
    """Open a small local file. Raises OSError."""
    return Path(file).open("rb")


def _lines(given: BinaryIO) -> list[str]:
    """Return what must not be shown of what a program is given, longest first: one line may hold another."""
    text = given.read(SECRET_LIMIT_BYTES).decode("utf-8", errors="replace")
    given.seek(0)
    lines = [line.strip() for line in text.splitlines()]
    return sorted((line for line in lines if len(line) >= SHORTEST_SECRET), key=len, reverse=True)
