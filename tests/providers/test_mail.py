"""Mail against a small SMTP server of the test's own, and into the simulator's mailbox."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_string
from email.policy import default
from urllib.parse import quote

import pytest

from callmeback.providers.failures import VendorError, VendorRefused, VendorUnavailable, VendorUnclear
from callmeback.providers.mail import Mail, MailConfig, Mailer, PutOff, SenderRefused
from callmeback.simulator import Simulator, create
from callmeback.simulator.alone import serving

pytestmark = pytest.mark.anyio
MAIL = Mail("ann@example.com", "Grüße", "Your code is 123456.\nBye.")


class Server:
    """SMTP's few words, with the answers that a test wants."""

    def __init__(self, answers: dict[str, str] | None = None, dies_in_data: bool = False) -> None:
        self.answers = answers or {}
        self.dies_in_data = dies_in_data
        self.mails: list[str] = []
        self.said: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode():
            word = line.split()[0].upper()
            self.said.append(line.strip())
            if word == "DATA":
                writer.write(b"354 go on\r\n")
                body = []
                while (part := (await reader.readline()).decode()) != ".\r\n":
                    body.append(part)
                    if self.dies_in_data:
                        writer.transport.abort()
                        return
                self.mails.append("".join(body))
                writer.write(b"250 taken\r\n")
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write((self.answers.get(word) or "250 ok").encode() + b"\r\n")
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()


def mailer(port: int, user: str = "") -> Mailer:
    return Mailer(MailConfig(url=f"smtp://{user}127.0.0.1:{port}", sender="hello@callmeback.example", timeout_s=2))


async def test_mail_arrives_whole() -> None:
    server = Server()
    async with server.running() as port:
        await mailer(port).send(MAIL)
    mail = message_from_string(server.mails[0], policy=default)

    assert (mail["To"], mail["Subject"]) == (MAIL.to, MAIL.subject)
    assert mail["From"] == "Call Me Back <hello@callmeback.example>"
    assert mail.get_content().replace("\r\n", "\n").strip() == MAIL.body
    assert "RCPT TO:<ann@example.com>" in " ".join(server.said).replace("rcpt", "RCPT")


@pytest.mark.parametrize(
    ("answers", "kind", "code"),
    [
        ({"RCPT": "550 no such ann@example.com"}, VendorRefused, "550"),
        ({"MAIL": "553 not you"}, SenderRefused, "553"),
        ({"MAIL": "421 busy"}, VendorUnavailable, "421"),
        ({"RCPT": "450 later, ann@example.com"}, PutOff, "450"),
    ],
)
async def test_refusals_are_told_apart_and_name_nobody(
    answers: dict[str, str], kind: type[VendorError], code: str
) -> None:
    async with Server(answers).running() as port:
        with pytest.raises(kind) as refusal:
            await mailer(port).send(MAIL)

    assert (type(refusal.value), refusal.value.vendor_code) == (kind, code)
    assert "ann" not in str(refusal.value)


async def test_password_is_never_sent_in_the_clear() -> None:
    server = Server()
    async with server.running() as port:
        with pytest.raises(VendorRefused):
            await mailer(port, "ann:hunter2@").send(MAIL)

    assert not any("AUTH" in line.upper() for line in server.said)
    assert server.mails == []


async def test_line_that_breaks_while_sending_is_unclear() -> None:
    async with Server(dies_in_data=True).running() as port:
        with pytest.raises(VendorUnclear):
            await mailer(port).send(MAIL)


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(VendorUnavailable):
        await mailer(9).send(MAIL)


@pytest.mark.parametrize("to", ["", "nobody", "a@b\nBcc: c@d", "x" * 10 + "@", "two@example.com, three@example.com"])
async def test_addresses_that_are_none_are_refused(to: str) -> None:
    with pytest.raises(VendorRefused):
        await mailer(9).send(Mail(to, "s", "b"))


async def test_subject_cannot_begin_another_header() -> None:
    with pytest.raises(VendorRefused):
        await mailer(9).send(Mail("ann@example.com", "Hello\r\nBcc: eve@example.com", "b"))


async def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(VendorRefused):
        await Mailer(MailConfig(url=f"ftp://{quote('x')}", sender="a@b.example")).send(MAIL)


async def test_without_a_server_it_lies_in_the_simulators_mailbox() -> None:
    sim = Simulator()
    async with serving(create(sim=sim)) as port:
        url = f"http://127.0.0.1:{port}/simulator/mails"
        await Mailer(MailConfig(url=url, sender="hello@callmeback.example")).send(MAIL)

    assert [(mail.to, mail.subject, mail.body) for mail in sim.mails] == [(MAIL.to, MAIL.subject, MAIL.body)]
