"""Who asks: from what the door found out, and what the request says."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.requests import Request

from trishula_broker.api.failures import Failure, bad, forbidden
from trishula_broker.api.links import Caller
from trishula_broker.net.admission import Admission, Guest
from trishula_broker.net.bearer import unauthorized
from trishula_broker.net.door import GUEST, is_trusted
from trishula_protocol.address import agent_fault
from trishula_protocol.errors import ErrorCode

AS: Final = "as"
"""The parameter that says as whom, on a hub without keys."""
TOKEN: Final = "token"
"""A browser's; the door has taken it."""
OWN: Final = frozenset({AS, TOKEN})
SOMEBODY: Final = "http"
"""Who asks on a hub without keys and does not say."""
HOME: Final = "default"
"""The namespace without keys."""


class Callers:
    """Tells who asks.

    Args:
        admission: who may come in.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def check_page(self, request: Request) -> None:
        """See that a browser's page may ask.

        Raises:
            Failure: 403, not from this origin.
        """
        headers = request.headers
        for origin in headers.getlist("origin"):
            if not self._admission.may_come_from(origin, headers.getlist("host")):
                raise forbidden("Origin: pages of this origin may not ask; see websocket.origins")

    def check(self, request: Request) -> None:
        """See that somebody asks who may ask anything; nothing of a request is looked at before.

        Raises:
            Failure: 401, nobody is proven; 403, not from this origin, or not from this host.
        """
        self.check_page(request)
        guest: Guest = request.scope["state"][GUEST]
        if guest.identity is not None:
            return
        if not self._admission.keyless:
            denied = unauthorized(
                "missing", "the API wants a token: Authorization: Bearer and the token"
            )
            raise Failure(
                HTTPStatus.UNAUTHORIZED,
                ErrorCode.UNAUTHORIZED,
                denied.text,
                headers=dict(denied.headers),
            )
        if not is_trusted(request.scope):
            raise forbidden("a hub without keys is for its own host, under a name of that alone")

    def who(self, request: Request, named: str | None = None) -> Caller:
        """Who asks, once that was checked; ``named`` is what the request itself says of it.

        Raises:
            Failure: 400, no name; 403, not who it says.
        """
        guest: Guest = request.scope["state"][GUEST]
        said = request.query_params.get(AS, named)
        if named is not None and said != named:
            raise bad(AS, f"it is {named[:80]} here; leave it out")
        identity = guest.identity
        if identity is not None:
            if said is not None and said != identity.subject:
                raise forbidden(f"{AS}: your token is for {identity.subject}, not {said[:80]}")
            return Caller(identity.namespace, identity.subject, identity, guest.peer)
        agent = said or SOMEBODY
        fault = agent_fault(agent)
        if fault is not None:
            raise bad(AS, f"{agent[:80]!r} {fault}")
        return Caller(HOME, agent, None, guest.peer)


def check_looking(caller: Caller) -> None:
    """See that ``caller`` may look at what is others'.

    Raises:
        Failure: 403.
    """
    if caller.identity is not None and caller.identity.role == "agent":
        raise forbidden("this is for operators and observers; your token's role is agent")
