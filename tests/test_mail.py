"""Mail goes out once, survives outages, and says what it should to real SMTP servers."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import SimpleNamespace

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr

from components.monitoring.mail import send_waiting
from components.settings import load_settings
from components.state.database import leases, open_state
from components.state.outbox import counts, due, enqueue
from flows.processes import free_port

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Inbox:
    """An aiosmtpd handler that keeps what it got, and refuses the first `refuse` mails for now."""

    def __init__(self, refuse: int = 0) -> None:
        self.messages: list[EmailMessage] = []
        self.refuse = refuse

    async def handle_DATA(self, server: object, session: object, envelope: SimpleNamespace) -> str:  # noqa: N802, ARG002
        if self.refuse:
            self.refuse -= 1
            return "451 come back later"
        self.messages.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@pytest.fixture
def place(workspace, params):
    settings = load_settings(workspace)
    return SimpleNamespace(
        workspace=workspace, settings=settings, params=params.alert, state=open_state(settings.database_url)
    )


def put(place, key="alert-1"):
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = key, "visionloop@localhost", "operator@localhost"
    message.set_content("Brightness fell by 31%.")
    with place.state.begin() as connection:
        enqueue(connection, key, message, NOW)


def send(place, now=NOW, url=""):
    settings = place.settings.model_copy(update={"smtp_url": SecretStr(url)})
    return send_waiting(place.state, settings, place.workspace, place.params, now)


@pytest.fixture
def smtp_server():
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield SimpleNamespace(inbox=inbox, url=f"smtp://127.0.0.1:{controller.port}")
    controller.stop()


def test_without_a_server_a_mail_becomes_one_eml_file(place):
    put(place)
    assert send(place) == 1
    assert send(place) == 0
    (file,) = place.workspace.outbox.glob("*.eml")
    message = message_from_bytes(file.read_bytes(), policy=default)
    assert message["Subject"] == "alert-1"
    assert message.get_content().strip() == "Brightness fell by 31%."


def test_a_real_server_gets_each_mail_once(place, smtp_server):
    put(place, "alert-1")
    put(place, "alert-2")
    assert send(place, url=smtp_server.url) == 2
    assert send(place, NOW + timedelta(hours=5), smtp_server.url) == 0
    assert [message["Subject"] for message in smtp_server.inbox.messages] == ["alert-1", "alert-2"]


def test_a_mail_survives_a_server_that_is_away(place, smtp_server):
    put(place)
    assert send(place, url=f"smtp://127.0.0.1:{free_port()}") == 0
    assert counts(place.state)["waiting"] == 1
    assert send(place, NOW + timedelta(minutes=2), smtp_server.url) == 1
    assert len(smtp_server.inbox.messages) == 1


def test_a_mail_that_is_refused_for_now_is_sent_later(place, smtp_server):
    smtp_server.inbox.refuse = 1
    put(place)
    assert send(place, url=smtp_server.url) == 0
    assert send(place, NOW + timedelta(minutes=2), smtp_server.url) == 1


def test_an_address_that_is_no_mail_server_is_named_and_nothing_is_lost(place):
    put(place)
    assert send(place, url="http://mail.example.org") == 0
    assert counts(place.state)["waiting"] == 1


def test_a_mail_sent_twice_by_a_crash_has_one_message_id(place, smtp_server):
    put(place)
    crash = f"""
import datetime, os, components.monitoring.mail as mail
from pathlib import Path
from components.params import load_params
from components.settings import load_settings
from components.state.database import leases, open_state
from components.workspace import open_workspace
workspace = open_workspace(Path({str(place.workspace.root)!r}))
mail.mark_sent = lambda *_: os.kill(os.getpid(), 9)
settings = load_settings(workspace)
mail.send_waiting(open_state(settings.database_url), settings, workspace,
    load_params(workspace.params).alert, datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC))
"""
    environment = {"VISIONLOOP_SMTP_URL": smtp_server.url, "PATH": "/usr/bin"}
    assert subprocess.run([sys.executable, "-c", crash], env=environment, check=False).returncode == -9
    assert len(due(place.state, NOW)) == 1
    with place.state.begin() as connection:
        connection.execute(leases.update().values(expires_at=datetime(2020, 1, 1, tzinfo=UTC)))  # as after a minute
    send(place, url=smtp_server.url)
    assert len(smtp_server.inbox.messages) == 2
    assert len({message["Message-ID"] for message in smtp_server.inbox.messages}) == 1
