"""Mail: by SMTP, from the standard library in a thread, or into the simulator's mailbox where there is no server."""

import asyncio
import smtplib
import ssl
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import msgspec

from callmeback.providers.failures import VendorError, VendorRefused, VendorUnavailable, VendorUnclear
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "mail"
PORTS: Final = {"smtp": 587, "smtps": 465}
AT_ONCE_MAX: Final = 4
BODY_CHARACTERS_MAX: Final = 100_000


class MailConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail goes and whom it is from.

    `url`: smtp://user:password@host:587 (STARTTLS wherever the server offers it, and always before a password),
    smtps://user:password@host:465, or http://127.0.0.1:PORT/simulator/mails.
    """

    url: str
    sender: str
    sender_name: str = "Call Me Back"
    timeout_s: float = 10.0


class Mail(msgspec.Struct, frozen=True):
    """A plain text for one person. Sent again with the same `message_id`, it is the same mail: mailboxes that suppress
    duplicates show it once."""

    to: str
    subject: str
    body: str
    message_id: str | None = None


class SenderRefused(VendorRefused):
    """The server takes nothing from us, whoever it is for: a login, a sender or an address of it that is wrong."""


class PutOff(VendorUnavailable):
    """The server is there and takes this mail later, or never (RFC 5321, 4.2.1: 4xx)."""


class Mailer:
    """Sends mails, a few at once; one for the process."""

    def __init__(self, config: MailConfig) -> None:
        self.config = config
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def send(self, mail: Mail) -> None:
        """Hand the mail over to the server.

        Raises VendorRefused (a bad address) and as SenderRefused (wrong credentials), VendorUnavailable (not handed
        over) and as PutOff (this mail), VendorUnclear (the line broke while it was).
        """
        message = _message(self.config, mail)
        async with self._turns:
            with asking(VENDOR, "send a mail"):
                await self._send(mail, message)

    async def _send(self, mail: Mail, message: EmailMessage) -> None:
        if urlsplit(self.config.url).scheme in {"http", "https"}:
            await self._post(mail)
        else:
            await asyncio.to_thread(_deliver, self.config, message)

    async def _post(self, mail: Mail) -> None:
        try:
            async with httpx.AsyncClient(
                timeout=self.config.timeout_s, trust_env=not on_this_machine(self.config.url)
            ) as client:
                answer = await client.post(self.config.url, json=msgspec.to_builtins(mail))
        except httpx.HTTPError as exc:
            raise VendorUnavailable(VENDOR, "send a mail") from exc
        if answer.status_code != 201:
            raise VendorRefused(VENDOR, "send a mail", status=answer.status_code)


def _message(config: MailConfig, mail: Mail) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"] = Address(config.sender_name, addr_spec=config.sender)
        message["To"] = Address(addr_spec=mail.to)
        # A line break in a header would begin another header; the library raises ValueError for it.
        message["Subject"] = mail.subject
    except (ValueError, HeaderParseError, IndexError) as exc:
        raise VendorRefused(VENDOR, "send a mail", vendor_code="address") from exc
    message["Date"] = formatdate(localtime=False)
    domain = config.sender.rpartition("@")[2]
    message["Message-ID"] = f"<{mail.message_id}@{domain}>" if mail.message_id else make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body[:BODY_CHARACTERS_MAX])
    return message


def _deliver(config: MailConfig, message: EmailMessage) -> None:
    parts = urlsplit(config.url)
    if parts.scheme not in PORTS or parts.hostname is None:
        raise SenderRefused(VENDOR, "send a mail", vendor_code="url")
    sent = False
    try:
        with _connected(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], config.timeout_s) as server:
            if parts.username:
                if parts.scheme == "smtp" and not server.has_extn("starttls"):
                    raise SenderRefused(VENDOR, "send a mail", vendor_code="no encryption for the password")
                server.login(unquote(parts.username), unquote(parts.password or ""))
            sent = True
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as exc:
        raise _said_no(max(code for code, _ in exc.recipients.values()), VendorRefused, PutOff) from exc
    except smtplib.SMTPDataError as exc:
        raise _said_no(exc.smtp_code, VendorRefused, PutOff) from exc
    except smtplib.SMTPResponseException as exc:
        raise _said_no(exc.smtp_code, SenderRefused, VendorUnavailable) from exc
    except (OSError, smtplib.SMTPException) as exc:
        kind_of_loss = VendorUnclear if sent else VendorUnavailable
        raise kind_of_loss(VENDOR, "send a mail") from exc


def _connected(scheme: str, host: str, port: int, timeout_s: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout_s)
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=context)
        server.ehlo()
        # After STARTTLS the server no longer offers it, but the line is encrypted; remember that it was.
        server.esmtp_features["starttls"] = ""
    return server


def _said_no(code: int, refused: type[VendorRefused], later: type[VendorUnavailable]) -> VendorError:
    """The error for the server's number: 4xx may work later (RFC 5321, 4.2.1). Its sentence may name the address."""
    kind: type[VendorError] = refused if code >= 500 else later

    return kind(VENDOR, "send a mail", vendor_code=str(code))
