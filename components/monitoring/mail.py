"""The outbox -> the world: `.eml` files in a folder, or SMTP.

In: mail that is due. Out: how many were sent. An outage never raises and never loses a mail: it stays in the outbox
with its error and is tried again later. SMTP knows no "exactly once": a process killed between the server's answer and
our note sends one mail twice, under the same Message-ID, by which mail programs recognise it.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine

from components.params import AlertParams
from components.settings import Settings
from components.state.leases import LeaseHeld, lease
from components.state.outbox import Mail, due, mark_failed, mark_sent
from components.workspace import Workspace, replace_file

TIMEOUT_S = 20.0
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailError(ValueError):
    """VISIONLOOP_SMTP_URL cannot be understood; the message shows what it should look like."""


Deliver = Callable[[Mail, EmailMessage], None]


def send_waiting(state: Engine, settings: Settings, workspace: Workspace, params: AlertParams, now: datetime) -> int:
    """Send what is due, oldest first; return how many went out. One process sends at a time."""
    mails = due(state, now)
    if not mails:
        return 0
    try:
        with lease(state, "mail", f"mail {now.isoformat()}", seconds=60):
            return _send(state, settings, workspace, params, due(state, now), now)
    except LeaseHeld:
        return 0


def _send(
    state: Engine, settings: Settings, workspace: Workspace, params: AlertParams, mails: list[Mail], now: datetime
) -> int:
    url, sent = settings.smtp_url.get_secret_value(), 0
    for mail in mails:
        try:
            with connect_smtp(url) if url else _folder(workspace) as deliver:
                deliver(mail, _stamped(mail))
        except (OSError, smtplib.SMTPException, MailError) as error:
            mark_failed(state, mail, f"{type(error).__name__}: {error}", now, params.max_attempts)
        else:
            mark_sent(state, mail, now)
            sent += 1
    return sent


def _stamped(mail: Mail) -> EmailMessage:
    """The message with its date, and an id that is the same however often it is sent."""
    message = message_from_string(mail.message, policy=SMTP)
    message["Date"] = format_datetime(mail.at)
    message["Message-ID"] = f"<{hashlib.sha256(f'{mail.key} {mail.at}'.encode()).hexdigest()[:32]}@visionloop>"
    return message


@contextmanager
def _folder(workspace: Workspace) -> Iterator[Deliver]:
    """Write each mail as an .eml file whose name sorts by time."""

    def deliver(mail: Mail, message: EmailMessage) -> None:
        with replace_file(workspace.outbox / f"{mail.at:%Y%m%d-%H%M%S}-{mail.id:05d}-{mail.key}.eml") as path:
            path.write_bytes(message.as_bytes())

    yield deliver


@contextmanager
def connect_smtp(url: str) -> Iterator[Deliver]:
    """A connection to the server of `url`: smtp://, smtp+starttls:// or smtps://, with user:password@ if need be."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise MailError(
            f"VISIONLOOP_SMTP_URL has scheme {parts.scheme!r}; expected smtp+starttls://user:password@host:587"
        )
    port = parts.port or PORTS[parts.scheme]
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(parts.hostname, port, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(parts.hostname, port, timeout=TIMEOUT_S)
    with server:
        if parts.scheme == "smtp+starttls":
            server.starttls(context=context)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        yield lambda _, message: _accepted(server.send_message(message))


def _accepted(refused: dict[str, tuple[int, bytes]]) -> None:
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)
