"""Every endpoint below ``/api/v1``. To add one: types in :mod:`.shapes`, a function, a line."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from trishula_broker.api import asked, mail, shapes, told
from trishula_broker.api.endpoint import Endpoint

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "GET", "/agents", "Agents", asked.list_agents, shapes.Agents, query=shapes.AgentsQuery
    ),
    Endpoint(
        "POST",
        "/agents/{agent}/pause",
        "Hand out nothing more to an agent",
        asked.pause_agent,
        shapes.PausedNow,
        body=shapes.PauseBody,
    ),
    Endpoint(
        "POST",
        "/agents/{agent}/resume",
        "Hand out to it again",
        asked.resume_agent,
        shapes.PausedNow,
    ),
    Endpoint(
        "DELETE",
        "/agents/{agent}",
        "Forget an agent that is offline",
        asked.forget_agent,
        shapes.ForgottenAgent,
        query=shapes.ForgetQuery,
    ),
    Endpoint("GET", "/groups", "Groups and their members", asked.list_groups, shapes.Groups),
    Endpoint("GET", "/nodes", "The hubs, and which of them leads", asked.list_nodes, shapes.Nodes),
    Endpoint(
        "POST",
        "/messages",
        "Send a message",
        mail.send_message,
        shapes.Sent,
        body=shapes.SendBody,
        status=HTTPStatus.CREATED,
    ),
    Endpoint(
        "GET",
        "/messages",
        "A thread, or all mail of an agent, from the log",
        asked.history,
        shapes.Messages,
        query=shapes.HistoryQuery,
    ),
    Endpoint(
        "GET",
        "/messages/{agent}/{id}",
        "What became of a message that an agent sent or received",
        asked.follow_message,
        shapes.Followed,
    ),
    Endpoint(
        "DELETE",
        "/messages/{id}",
        "Take back what nobody has read",
        asked.recall_message,
        shapes.Recalled,
    ),
    Endpoint(
        "GET",
        "/mailboxes/{agent}",
        "Look at a mailbox; nothing is delivered, read or settled",
        asked.peek_mailbox,
        shapes.Mailbox,
        query=shapes.PeekQuery,
    ),
    Endpoint(
        "POST",
        "/mailboxes/{mine}/receive",
        "The next messages of the caller's own mailbox",
        mail.receive_mail,
        shapes.Received,
        body=shapes.ReceiveBody,
    ),
    Endpoint(
        "POST",
        "/mailboxes/{mine}/settle",
        "Say what became of messages that were received",
        mail.settle_mail,
        shapes.Settled,
        body=shapes.SettleBody,
    ),
    Endpoint(
        "GET",
        "/deadletters",
        "What was given up",
        asked.list_deadletters,
        shapes.DeadLetters,
        query=shapes.DeadLettersQuery,
    ),
    Endpoint(
        "POST",
        "/deadletters/{agent}/{seq}/retry",
        "Put a dead letter back into its mailbox",
        asked.retry_deadletter,
        shapes.LetterNamed,
    ),
    Endpoint(
        "DELETE",
        "/deadletters/{agent}/{seq}",
        "Remove a dead letter",
        asked.drop_deadletter,
        shapes.LetterNamed,
    ),
    Endpoint(
        "GET",
        "/series",
        "This hub's last hour: throughput and latency, for plots",
        told.series,
        shapes.Series,
        looking=True,
    ),
)
