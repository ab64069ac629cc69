"""``renew``: a new token for a session that goes on."""

from __future__ import annotations

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.refusals import who
from trishula_broker.hub.standing import Standing, standing_of
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode


def renew(call: Call, op: bodies.Renew) -> None:
    """What the new token allows holds from here on, and until it expires.

    It is for the same agent and namespace; a refused one changes nothing. The token itself goes
    no further than to whoever checks it.
    """
    old = standing_of(call.session)
    identify = call.desk.identify
    if old is None or identify is None:
        call.error(
            ErrorCode.BAD_MESSAGE,
            "payload.op: this session was opened without a token, so there is none to renew",
        )
        return
    try:
        identity = identify(op.token)
    except TokenRefused as error:
        call.error(ErrorCode.UNAUTHORIZED, f"payload.token: {error.text}")
        return
    problem = _problem(call, old.identity, identity)
    if problem is not None:
        call.error(ErrorCode.FORBIDDEN, f"payload.token: {problem}")
        return
    call.session.standing = Standing(identity)
    if identity.role == "agent":
        call.desk.taps.end(call.session, call.now)
    tenure = call.desk.tenure
    tenure.begin(call.session, call.now)
    if identity.token_id != old.identity.token_id:  # the same one again is no news
        call.desk.record("renewed", {**who(call.session), "before": old.identity.token_id})
    call.result(bodies.Renewed(tenure.expires_at(call.session)))
    if identity.rights.receive is not None and identity.rights != old.identity.rights:
        call.desk.registration.narrow_again(call.session)


def _problem(call: Call, old: Identity, new: Identity) -> str | None:
    """Why a good token does not do for this session."""
    if (new.subject, new.namespace) != (old.subject, old.namespace):
        return f"it is not for {old.subject} in the namespace {old.namespace}; connect with it"
    if new.role == "observer" and call.session.receive:
        return "an observer receives nothing, and this session does; connect with it"
    return None
