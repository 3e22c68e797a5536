"""The command `docker-credential-firstpull`: the delivered logins, for docker, podman and skopeo.

It speaks the protocol of docker's credential helpers: the action is the argument, the input comes
on standard input, and the answer goes to standard output, an error's text too, with exit status 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from firstpull_agent import __version__
from firstpull_agent.applied import Applied, AppliedStore
from firstpull_agent.auth_file import AuthFile
from firstpull_agent.deliveries import without_default_port
from firstpull_agent.secret import Secret

DEFAULT_STATE_DIR = Path("/var/lib/firstpull-agent")
STATE_DIR_VARIABLE = "FIRSTPULL_AGENT_STATE_DIR"

# Clients recognise these two by their text, and then go on without a login.
_NOT_FOUND = "credentials not found in native keychain"
_NO_ADDRESS = "no credentials server URL"
_USAGE = """\
usage: docker-credential-firstpull get|list|version

Gives container tools the logins that firstpull-agent keeps: a credential helper for docker,
podman and skopeo. `get` reads a registry's address on standard input, `list` names all.
FIRSTPULL_AGENT_STATE_DIR is the agent's state folder, if it is not /var/lib/firstpull-agent.
"""


class Refused(Exception):
    """The request cannot be answered; the message goes to the client."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 1 with a message in standard output."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(_USAGE)
        return 0
    action = _ACTIONS.get(arguments[0], _explain) if len(arguments) == 1 else _explain
    try:
        answer = action()
    except Refused as refused:
        sys.stdout.write(f"{refused}\n")
        return 1
    except OSError as error:
        sys.stdout.write(f"{error.filename or 'a file'}: {error.strerror}\n")
        return 1
    sys.stdout.write(answer + "\n")
    return 0


def _get() -> str:
    asked = sys.stdin.read().strip()
    if not asked:
        raise Refused(_NO_ADDRESS)
    for login in _logins():
        if login.address == _address(asked, insecure=login.insecure):
            credentials = _credentials(login)
            if credentials is not None:
                username, password = credentials
                return json.dumps(
                    {"ServerURL": asked, "Username": username, "Secret": password.reveal()}
                )
    raise Refused(_NOT_FOUND)


def _list() -> str:
    return json.dumps(
        {login.address: login.username for login in _logins() if _credentials(login) is not None}
    )


def _version() -> str:
    return f"docker-credential-firstpull {__version__}"


def _store() -> str:
    raise Refused(
        "firstpull-agent keeps the logins of this helper, and takes none from `login`: name the"
        " helper in credHelpers for the registries of firstpull only, not in credsStore, and run"
        " the agent with --engine oci"
    )


def _erase() -> str:
    raise Refused(
        "firstpull-agent keeps the logins of this helper; `logout` does not remove them."
        " The agent removes a login when its delivery is withdrawn"
    )


def _explain() -> str:
    raise Refused(_USAGE.rstrip())


_ACTIONS: dict[str, Callable[[], str]] = {
    "get": _get,
    "list": _list,
    "version": _version,
    "store": _store,
    "erase": _erase,
}


def _logins() -> list[Applied]:
    """The logins that the agent made and did not remove, in the order of their names."""
    folder = Path(os.environ.get(STATE_DIR_VARIABLE) or DEFAULT_STATE_DIR)
    return sorted(AppliedStore(folder / "applied.json").load(), key=lambda login: login.name)


def _credentials(login: Applied) -> tuple[str, Secret] | None:
    """The credentials of a login, None if a person has put another one in its place."""
    found = AuthFile(Path(login.auth_file)).credentials(login.address)
    return found if found is not None and found[0] in login.usernames else None


def _address(asked: str, *, insecure: bool) -> str:
    """`host[:port]` of what a client asks for, which may be a URL."""
    host = urlsplit(asked).netloc if "://" in asked else asked.partition("/")[0]
    return without_default_port(host, insecure=insecure)


if __name__ == "__main__":
    sys.exit(main())
