"""Ports for programs that are told theirs, and listen there only a while after."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def kept(count: int) -> Iterator[list[int]]:
    """Free ports of the loopback that nobody else is given while the block runs.

    A socket is bound to each, without listening. Whoever asks for any port gets another one; a program that is told
    this one, and sets SO_REUSEADDR as servers do, may listen there.
    """
    with ExitStack() as stack:
        keepers = [stack.enter_context(socket.socket()) for _ in range(count)]
        for keeper in keepers:
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind(("127.0.0.1", 0))
        yield [keeper.getsockname()[1] for keeper in keepers]
