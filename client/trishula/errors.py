"""What the SDK raises. Each carries fields; the text is derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trishula_protocol.bodies import ErrorBody


class TrishulaError(Exception):
    """Base of all that the SDK raises on its own account.

    Wrong arguments raise ``ValueError`` or ``TypeError`` instead, waiting too long
    ``TimeoutError``.
    """


class _CodedError(TrishulaError):
    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.details = dict(details) if details else {}
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Refused(_CodedError):
    """The hub refused a message or a question; nothing of it is stored and its id is free.

    Attributes:
        code: ``unknown_recipient``, ``mailbox_full``, ... (docs/protocol.md §6).
        message: for people; names the field and the rule.
        details: particulars, JSON values; the nearest names of an unknown recipient, for one.
        retryable: whether the same may be accepted later.
    """

    @classmethod
    def of(cls, error: ErrorBody) -> Refused:
        """From what the hub said."""
        return cls(error.code, error.message, details=error.details, retryable=error.retryable)


class RemoteError(_CodedError):
    """A command was answered by ERROR. Raise it in a handler to answer with one.

    Attributes:
        code: the answering agent's, or the hub's ``expired`` and ``undeliverable``.
        message: for people.
        details: particulars, JSON values.
        retryable: whether the answerer says that trying again may succeed.
        payload: the ERROR's payload as it came, whatever its shape; None for one to be sent.
        sender: who answered; None for one to be sent.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        retryable: bool = False,
        payload: Any = None,
        sender: str | None = None,
    ) -> None:
        super().__init__(code, message, details=details, retryable=retryable)
        self.payload = payload
        self.sender = sender

    @classmethod
    def of(cls, payload: Any, sender: str | None) -> RemoteError:
        """From the payload of an ERROR, which may be anything."""
        if not isinstance(payload, dict):
            return cls("error", str(payload), payload=payload, sender=sender)
        details = payload.get("details")
        return cls(
            str(payload.get("code", "error")),
            str(payload.get("message", "")),
            details=details if isinstance(details, dict) else None,
            retryable=payload.get("retryable") is True,
            payload=payload,
            sender=sender,
        )

    def body(self) -> dict[str, Any]:
        """The payload of the ERROR that says this."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
        }
        if self.details:
            body["details"] = self.details
        return body


class NotConnected(TrishulaError, ConnectionError):
    """No hub could be reached: not in time, or there is none under that URL. Or all of them are
    there, and refuse each token anew.

    Attributes:
        reasons: for each hub's address what happened last.
        refused: every one of them answered, and refused the token.
    """

    def __init__(self, reasons: Mapping[str, str], refused: bool = False) -> None:
        super().__init__(reasons, refused)
        self.reasons = dict(reasons)
        self.refused = refused

    def __str__(self) -> str:
        if not self.reasons:
            return "no hub answered in time"
        said = "; ".join(f"{url}: {reason}" for url, reason in self.reasons.items())
        if self.refused:
            return f"every hub refuses the token: {said}; `broker token create` makes a new one"
        return f"no hub could be reached: {said}"


class Unauthorized(TrishulaError):
    """The hub does not accept the token, or not any more. The SDK does not try again.

    Attributes:
        shown: whether there was one.
    """

    def __init__(self, url: str, reason: str, shown: bool = True) -> None:
        super().__init__(url, reason, shown)
        self.url = url
        self.reason = reason
        self.shown = shown

    def __str__(self) -> str:
        what = "does not accept the token" if self.shown else "asks for a token, and was shown none"
        return f"{self.url} {what}: {self.reason}"


class RegistrationRefused(_CodedError):
    """The hub does not let this agent register, and trying again would not help."""


class TakenOver(TrishulaError):
    """Another process registered under this name; this one does not fight back."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent)
        self.agent = agent

    def __str__(self) -> str:
        return (
            f"another connection registered as {self.agent!r} and receives its mail now; "
            "what this one had not settled went there"
        )


class AgentClosed(TrishulaError):
    """The agent was closed, or not entered yet."""

    def __init__(self, agent: str, why: str = "is closed") -> None:
        super().__init__(agent, why)
        self.agent = agent
        self.why = why

    def __str__(self) -> str:
        return f"agent {self.agent!r} {self.why}"


class FolderError(TrishulaError):
    """The shared folder cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"shared_folder {self.path}: {self.why}"


class StateDirError(TrishulaError):
    """The state directory cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"state_dir {self.path}: {self.why}"


class StateDirHeld(StateDirError):
    """Another process has the state directory; ``holder`` says which."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(path, f"held by {holder}; one process a directory")
        self.holder = holder
