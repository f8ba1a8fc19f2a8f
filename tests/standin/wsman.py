"""The part of WS-Management that a remote shell needs: messages read and written. Pure.

Source: [MS-WSMV] 3.1.4 (Create, Command, Send, Receive, Signal, Delete of the shell resource).
"""

from __future__ import annotations

import base64
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.sax.saxutils import escape

SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
ACTIONS = {
    f"{TRANSFER}/Create": "create",
    f"{TRANSFER}/Delete": "delete",
    f"{SHELL}/Command": "command",
    f"{SHELL}/Send": "send",
    f"{SHELL}/Receive": "receive",
    f"{SHELL}/Signal": "signal",
}
TIMED_OUT = 2150858793
"""Fault of a Receive that nothing was there for: the client asks again."""
SHELL_GONE = 2150858843

_S = "{http://www.w3.org/2003/05/soap-envelope}"
_A = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_W = "{http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd}"
_R = "{" + SHELL + "}"


class ProtocolError(Exception):
    """The message is none that a remote shell knows."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message of the client.

    Args:
        action: one of the values of ACTIONS.
        timeout_s: how long the client wants to wait for output.
        data: standard input (send), decoded.
        last: the client closes standard input with this (send), or sends none (command).
    """

    action: str
    message_id: str
    shell: str = ""
    command: str = ""
    command_line: str = ""
    data: bytes = b""
    last: bool = False
    timeout_s: float = 20.0


def parse(body: bytes) -> Request:
    """A client's message. Raises ProtocolError."""
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise ProtocolError(f"no XML: {error}") from error
    header = root.find(f"{_S}Header")
    content = root.find(f"{_S}Body")
    if header is None or content is None:
        raise ProtocolError("no SOAP envelope")
    action = ACTIONS.get(header.findtext(f"{_A}Action", "").strip())
    if action is None:
        raise ProtocolError(f"unknown action {header.findtext(f'{_A}Action')!r}")
    request = Request(
        action,
        header.findtext(f"{_A}MessageID", ""),
        shell=header.findtext(f"{_W}SelectorSet/{_W}Selector", ""),
        timeout_s=_seconds(header.findtext(f"{_W}OperationTimeout", "PT20S")),
    )
    return _with_body(request, header, content)


def _with_body(request: Request, header: ET.Element, content: ET.Element) -> Request:
    fields = {name: getattr(request, name) for name in ("action", "message_id", "shell", "timeout_s")}
    if request.action == "command":
        line = content.find(f"{_R}CommandLine")
        if line is None:
            raise ProtocolError("Command without CommandLine")
        words = [
            line.findtext(f"{_R}Command", ""),
            *(item.text or "" for item in line.findall(f"{_R}Arguments")),
        ]
        options = {item.get("Name"): (item.text or "") for item in header.iter(f"{_W}Option")}
        no_input = options.get("WINRS_CONSOLEMODE_STDIN", "TRUE").upper() == "TRUE"
        return Request(**fields, command_line=" ".join(words), last=no_input)
    if request.action == "send":
        stream = content.find(f"{_R}Send/{_R}Stream")
        if stream is None:
            raise ProtocolError("Send without Stream")
        data = base64.b64decode(stream.text or "")
        return Request(
            **fields, command=stream.get("CommandId", ""), data=data, last=stream.get("End") == "true"
        )
    if request.action == "receive":
        stream = content.find(f"{_R}Receive/{_R}DesiredStream")
        return Request(**fields, command=stream.get("CommandId", "") if stream is not None else "")
    if request.action == "signal":
        signal = content.find(f"{_R}Signal")
        return Request(**fields, command=signal.get("CommandId", "") if signal is not None else "")
    return request


def _seconds(duration: str) -> float:
    """Seconds of `PT20S` or `PT20.000S`; 20 when it is written in another way."""
    text = duration.removeprefix("PT").removesuffix("S")
    try:
        return float(text)
    except ValueError:
        return 20.0


def _envelope(request_id: str, action: str, body: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xml:lang="en-US"'
        ' xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
        ' xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer"'
        f' xmlns:rsp="{SHELL}"><s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:{uuid.uuid4()}</a:MessageID>'
        f"<a:RelatesTo>{escape(request_id)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def created(request: Request, shell: str) -> bytes:
    """The answer to Create."""
    body = (
        "<x:ResourceCreated><a:ReferenceParameters><w:SelectorSet>"
        f'<w:Selector Name="ShellId">{shell}</w:Selector>'
        "</w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>"
        f"<rsp:Shell><rsp:ShellId>{shell}</rsp:ShellId></rsp:Shell>"
    )
    return _envelope(request.message_id, f"{TRANSFER}/CreateResponse", body)


def started(request: Request, command: str) -> bytes:
    """The answer to Command."""
    body = f"<rsp:CommandResponse><rsp:CommandId>{command}</rsp:CommandId></rsp:CommandResponse>"
    return _envelope(request.message_id, f"{SHELL}/CommandResponse", body)


def done(request: Request) -> bytes:
    """The answer to Send, Signal and Delete."""
    word = request.action.capitalize()
    body = "" if request.action == "delete" else f"<rsp:{word}Response/>"
    return _envelope(request.message_id, f"{SHELL}/{word}Response", body)


def output(request: Request, stdout: bytes, stderr: bytes, exit_code: int) -> bytes:
    """The answer to Receive: all output of a command that has ended."""
    streams = "".join(
        f'<rsp:Stream Name="{name}" CommandId="{request.command}">{base64.b64encode(data).decode()}</rsp:Stream>'
        for name, data in (("stdout", stdout), ("stderr", stderr))
        if data
    )
    body = (
        f'<rsp:ReceiveResponse>{streams}<rsp:CommandState CommandId="{request.command}" State="{SHELL}/CommandState/Done">'
        f"<rsp:ExitCode>{exit_code}</rsp:ExitCode></rsp:CommandState></rsp:ReceiveResponse>"
    )
    return _envelope(request.message_id, f"{SHELL}/ReceiveResponse", body)


def fault(request_id: str, code: int, reason: str) -> bytes:
    """A fault, to be sent with HTTP status 500."""
    body = (
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:InternalError</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{escape(reason)}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}" Machine="standin">'
        f"<f:Message>{escape(reason)}</f:Message></f:WSManFault></s:Detail></s:Fault>"
    )
    return _envelope(request_id, "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", body)
