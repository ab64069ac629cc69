"""What a proven session may do: its identity, looked at once."""

from __future__ import annotations

from trishula_broker.auth.identity import Identity
from trishula_broker.auth.permits import may_join, may_send, may_type, shown
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession


class Standing:
    """An identity, and what each envelope needs of it at hand.

    Attributes:
        auth: the value of the header that recipients see: subject, namespace, token id.
        limited: whether it may not send everything to everybody.
    """

    __slots__ = ("auth", "identity", "limited")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.auth = f"{identity.subject} {identity.namespace} {identity.token_id}"
        rights = identity.rights
        self.limited = (
            identity.role == "observer" or rights.send is not None or rights.types is not None
        )

    def __repr__(self) -> str:
        return f"<Standing {self.auth} {self.identity.role}{' limited' if self.limited else ''}>"

    def may_send(self, to: str) -> bool:
        """Whether it may send to this address."""
        return may_send(self.identity, to)

    def check_type(self, type_: str) -> None:
        """See that it may send messages of a type.

        Raises:
            ProtocolError: ``forbidden``; it may not.
        """
        if self.identity.role == "observer":
            raise forbidden("to", "an observer looks on, and asks the hub alone", ())
        if not may_type(self.identity, type_):
            types = self.identity.rights.types
            raise forbidden("type", f"your token does not allow {type_}", types)

    def not_allowed(self, to: str) -> ProtocolError:
        """What an address outside its rights is answered with."""
        return forbidden("to", f"your token does not allow {to}", self.identity.rights.send)

    def check_tags(
        self, groups: list[str] | None, capabilities: list[str] | None, where: str = "payload."
    ) -> None:
        """See that it may be reached by these groups and capabilities.

        Raises:
            ProtocolError: ``forbidden``; it may not by one of them.
        """
        for field, sign, names in (("groups", "#", groups), ("capabilities", "@", capabilities)):
            for name in names or ():
                if not may_join(self.identity, sign + name):
                    raise forbidden(
                        f"{where}{field}",
                        f"your token does not allow {sign}{name}",
                        self.identity.rights.receive,
                    )

    def allowed(self, sign: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``names`` that it may be reached by; ``sign`` is ``#`` or ``@``."""
        return tuple(name for name in names if may_join(self.identity, sign + name))


def forbidden(field: str, why: str, allowed: tuple[str, ...] | None) -> ProtocolError:
    """A refusal that names the field, and what the token allows there."""
    return ProtocolError(
        ErrorCode.FORBIDDEN,
        f"{field}: {why}; it allows {shown(allowed)}",
        details={"field": field, "allowed": None if allowed is None else list(allowed)},
    )


def standing_of(session: HubSession) -> Standing | None:
    """What was proven of a session; None on a hub without keys, where everybody may everything."""
    standing: Standing | None = session.standing
    return standing
