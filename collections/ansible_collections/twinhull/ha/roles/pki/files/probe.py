"""Asks every TLS port of this node, as an operator who wants nothing, which certificate it shows and whether it takes ours.

Run on the node: `python -c PROBE '{"ports": [[ADDRESS, PORT], ...]}'` with the operator's key and certificate as PEM on
standard input. Prints {"ports": [{"address", "port", "listens", "trusts", "fingerprint"}]}. An operator may connect
to the control port; the others let nobody but the peer in, but say first whether they know who signed for him.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import socket
import ssl
import sys
import tempfile

TIMEOUT_S = 10.0
PATIENCE_S = 3.0
ATTEMPTS = 3
REFUSALS = ("UNKNOWN_CA", "CERTIFICATE", "ACCESS_DENIED")
ENDS = ("EOF", "DECODE_ERROR", "CLOSE_NOTIFY")


def ask(context, address, port):
    """What the listener says, asked again while it does not say whether it took our certificate."""
    for _ in range(ATTEMPTS):
        found = ask_once(context, address, port)
        if found["trusts"] is not None or not found["listens"]:
            break
    return found


def ask_once(context, address, port):
    """What the listener says. `trusts` is None when that was not to be seen: it did not answer in time, or hung up hard.

    TLS 1.3: this side is through before the other has looked at our certificate. So we end our direction, and wait
    until the other one ends too (it took the certificate) or sends an alert (it did not).
    """
    found = {"address": address, "port": port, "listens": False, "trusts": None, "fingerprint": ""}
    try:
        plain = socket.create_connection((address, port), TIMEOUT_S)
    except OSError:
        return found
    found["listens"] = True
    try:
        with contextlib.closing(plain), context.wrap_socket(plain) as tls:
            found["fingerprint"] = hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
            found["trusts"] = ended(tls)
    except OSError:
        return found
    return found


def ended(tls):
    """Whether the other side had taken our certificate by the time it ended; None when it does not say.

    Listeners for the peer hang up on an operator at once. The one for operators waits for what he wants: so in the end it
    is told goodbye.
    """
    try:
        tls.settimeout(PATIENCE_S)
        with contextlib.suppress(TimeoutError):
            return tls.recv(1) == b""
        tls.settimeout(TIMEOUT_S)
        tls.unwrap()
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).upper()
        if any(word in reason for word in REFUSALS):
            return False
        return True if any(word in reason for word in ENDS) else None
    except OSError as error:
        return True if error.errno == 0 else None  # how OpenSSL's end without a goodbye is told
    return True


def main():
    """See the head of the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(sys.stdin.read())
        context.load_cert_chain(path)
    finally:
        pathlib.Path(path).unlink()
    wanted = json.loads(sys.argv[1])["ports"]
    json.dump({"ports": [ask(context, address, port) for address, port in wanted]}, sys.stdout)


main()
