"""The login phase of one connection, as a decision: requests in, responses out (RFC 7143 sections 6.3 and 11.12)."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from . import text
from .chap import Challenge, Chap, ChapError
from .pdu import LoginFlag, LoginRequest, LoginStatus, Opcode, Stage, header
from .text import Negotiation, Operational, TextError

PORTAL_GROUP: Final = 1
MAX_STEPS: Final = 32
_STATUS_SN: Final = 1


class Identity(NamedTuple):
    """Who has logged in, and to what.

    Args:
        initiator: its iSCSI name, in lower case.
        isid: the initiator's half of the session's id.
        tsih: 0 for a new session, else the one that it wants to go on with.
        connection_id: its number within the session.
        discovery: whether it only wants to know our name.
    """

    initiator: str
    isid: bytes
    tsih: int
    connection_id: int
    discovery: bool


class Admission(NamedTuple):
    """Whether a session may begin: a status, and its handle when that is SUCCESS."""

    status: LoginStatus
    tsih: int = 0


class Response(NamedTuple):
    """A Login Response: its header and its text."""

    head: bytes
    body: bytes


class Doorkeeper(Protocol):
    """What the login must know of the target."""

    name: str
    chap: Chap | None

    def challenge(self) -> bytes: ...
    def admit(self, identity: Identity) -> Admission: ...


class _RefusedError(Exception):
    """The login ends with this status."""

    def __init__(self, status: LoginStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Login:
    """One login. Feed it each Login Request; it is over when `identity` or `refused` is set.

    Args:
        target: whose doors these are.
    """

    def __init__(self, target: Doorkeeper) -> None:
        self._target = target
        self._first: LoginRequest | None = None
        self._stage = Stage.SECURITY
        self._proven = target.chap is None
        self._challenge: Challenge | None = None
        self._negotiation = Negotiation()
        self._begun = False
        self._partial = b""
        self._outgoing: list[tuple[str, str]] = []
        self._initiator = ""
        self._steps = 0
        self._status_sn = _STATUS_SN
        self._group_told = False
        self.identity: Identity | None = None
        """Who has logged in; None until the login is done."""
        self.tsih = 0
        """The session's handle, once the login is done."""
        self.refused = ""
        """Why the login failed, for the log; empty as long as it did not."""

    @property
    def operational(self) -> Operational:
        """What was agreed upon."""
        return self._negotiation.outcome()

    @property
    def next_status_sn(self) -> int:
        """StatSN of the first response in the full-feature phase."""
        return self._status_sn

    def receive(self, request: LoginRequest, data: bytes) -> Response:
        """The response to one request. After a refusal nothing may follow it."""
        self._steps += 1
        try:
            self._check_header(request)
            return self._step(request, data)
        except _RefusedError as refusal:
            return self._refuse(request, refusal.status, str(refusal))
        except TextError as error:
            return self._refuse(request, LoginStatus.INITIATOR_ERROR, str(error))
        except ChapError as error:
            return self._refuse(request, LoginStatus.AUTHENTICATION_FAILURE, str(error))

    def _check_header(self, request: LoginRequest) -> None:
        stage = request.flags >> 2 & 3
        first = self._first
        if self._steps > MAX_STEPS:
            raise _RefusedError(LoginStatus.INITIATOR_ERROR, "the login does not come to an end")
        if request.version_min > 0:
            raise _RefusedError(LoginStatus.UNSUPPORTED_VERSION, "version 0 is not spoken")
        if first is None:
            if stage not in (Stage.SECURITY, Stage.OPERATIONAL):
                raise _RefusedError(LoginStatus.INITIATOR_ERROR, "the login begins in no known stage")
            self._first, self._stage = request, Stage(stage)
            return
        same = (request.isid, request.tsih, request.connection_id, request.task_tag)
        if same != (first.isid, first.tsih, first.connection_id, first.task_tag):
            raise _RefusedError(LoginStatus.INITIATOR_ERROR, "the login changes whose it is")
        if stage != self._stage:
            raise _RefusedError(
                LoginStatus.INVALID_DURING_LOGIN, "the login changes its stage without asking"
            )

    def _step(self, request: LoginRequest, data: bytes) -> Response:
        self._partial += data
        if len(self._partial) > text.MAX_TEXT_BYTES:
            raise TextError("too much text")
        if request.flags & LoginFlag.CONTINUE:
            if request.flags & LoginFlag.TRANSIT:
                raise TextError("text that is not complete asks for the next stage")
            return self._respond(request, 0, b"")
        pairs, self._partial = text.parse(self._partial), b""
        if not self._begun:
            self._begin(dict(pairs))
            self._begun = True
        answers = self._outgoing
        self._outgoing = []
        if self._stage is Stage.SECURITY:
            answers += self._security(dict(pairs))
        else:
            if not self._proven:
                raise ChapError("the initiator left the authentication out")
            answers += self._negotiate(pairs)
        return self._move(request, answers)

    def _begin(self, keys: dict[str, str]) -> None:
        """What the first request must say."""
        self._initiator = keys.get("InitiatorName", "").lower()
        if not self._initiator:
            raise _RefusedError(LoginStatus.MISSING_PARAMETER, "the initiator has no name")
        if len(self._initiator.encode()) > 223:
            raise TextError("the initiator's name is too long")
        kind = keys.get("SessionType", "Normal")
        if kind not in ("Normal", "Discovery"):
            raise _RefusedError(LoginStatus.SESSION_TYPE, f"no session can be of type {kind[:40]}")
        discovery = kind == "Discovery"
        if not discovery:
            wanted = keys.get("TargetName", "").lower()
            if not wanted:
                raise _RefusedError(LoginStatus.MISSING_PARAMETER, "no target is named")
            if wanted != self._target.name:
                raise _RefusedError(LoginStatus.NOT_FOUND, f"there is no target {wanted[:120]}")
        self._negotiation = Negotiation(discovery=discovery)

    def _security(self, keys: dict[str, str]) -> list[tuple[str, str]]:
        answers = []
        if not self._group_told and not self._negotiation.discovery:
            answers.append(("TargetPortalGroupTag", str(PORTAL_GROUP)))
            self._group_told = True
        if "AuthMethod" in keys:
            answers.append(("AuthMethod", self._method(keys["AuthMethod"].split(","))))
        if "CHAP_A" in keys:
            answers += self._ask(keys["CHAP_A"])
        if "CHAP_R" in keys:
            if "CHAP_I" in keys or "CHAP_C" in keys:
                raise ChapError("the initiator wants us to prove ourselves, and there is no secret for that")
            if self._challenge is None:
                raise ChapError("an answer came before the question")
            challenge, self._challenge = self._challenge, None
            challenge.check(keys.get("CHAP_N", ""), keys["CHAP_R"])
            self._proven = True
        return answers

    def _method(self, offered: list[str]) -> str:
        wanted = "None" if self._target.chap is None else "CHAP"
        if wanted not in offered:
            raise ChapError(f"the initiator offers {','.join(offered)[:60]}, but {wanted} is wanted")
        return wanted

    def _ask(self, algorithms: str) -> list[tuple[str, str]]:
        chap = self._target.chap
        if chap is None or self._challenge is not None or self._proven:
            raise ChapError("CHAP was not agreed upon, or comes twice")
        random = self._target.challenge()
        self._challenge = Challenge(chap, random[0], random[1:])
        return self._challenge.ask(algorithms)

    def _negotiate(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        negotiation = self._negotiation
        answers: list[tuple[str, str]] = []
        if not self._group_told and not negotiation.discovery:
            answers.append(("TargetPortalGroupTag", str(PORTAL_GROUP)))
            self._group_told = True
        for key, value in pairs:
            if key in _IDENTITY_KEYS:
                continue
            answer = negotiation.answer(key, value)
            if answer is not None:
                answers.append(answer)
                if answer[1] == text.REJECT and key in ("HeaderDigest", "DataDigest"):
                    raise TextError(f"{key} cannot be {value[:40]}")
        declared = negotiation.declaration()
        return answers if declared is None else [*answers, declared]

    def _move(self, request: LoginRequest, answers: list[tuple[str, str]]) -> Response:
        """Go to the next stage when the initiator asks for it and nothing is open."""
        body = text.build(answers)
        wanted = request.flags & 3
        if not request.flags & LoginFlag.TRANSIT:
            return self._respond(request, 0, body)
        if wanted <= self._stage or wanted == 2:
            raise _RefusedError(LoginStatus.INITIATOR_ERROR, "there is no such next stage")
        if not self._proven:
            return self._respond(request, 0, body)
        if wanted == Stage.FULL_FEATURE:
            self._finish(request)
        self._stage = Stage(wanted)
        return self._respond(request, LoginFlag.TRANSIT | wanted, body)

    def _finish(self, request: LoginRequest) -> None:
        identity = Identity(
            self._initiator,
            request.isid,
            request.tsih,
            request.connection_id,
            self._negotiation.discovery,
        )
        admission = self._target.admit(identity)
        if admission.status is not LoginStatus.SUCCESS:
            raise _RefusedError(admission.status, f"the session is refused ({admission.status.name})")
        self.identity = identity
        self.tsih = admission.tsih

    def _respond(self, request: LoginRequest, flags: int, body: bytes) -> Response:
        head = header(
            Opcode.LOGIN_RESPONSE,
            flags | request.flags & 0x0C,
            0,
            0,
            request.isid,
            self.tsih if self.identity is not None else request.tsih,
            request.task_tag,
            self._status_sn,
            request.command_sn,
            request.command_sn,
            LoginStatus.SUCCESS,
            length=len(body),
        )
        self._status_sn += 1
        return Response(head, body)

    def _refuse(self, request: LoginRequest, status: LoginStatus, why: str) -> Response:
        self.refused = why or status.name
        head = header(
            Opcode.LOGIN_RESPONSE,
            request.flags & 0x0C,
            0,
            0,
            request.isid,
            request.tsih,
            request.task_tag,
            self._status_sn,
            request.command_sn,
            request.command_sn,
            status,
        )
        return Response(head, b"")


_IDENTITY_KEYS: Final = frozenset(
    {"InitiatorName", "InitiatorAlias", "SessionType", "TargetName", "AuthMethod", "TargetAlias"}
)
