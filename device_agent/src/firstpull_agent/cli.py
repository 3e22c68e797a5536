"""The command `firstpull-agent`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from firstpull_agent import __version__
from firstpull_agent.applied import AppliedStore
from firstpull_agent.convergence import Convergence, settle
from firstpull_agent.credential_helper import DEFAULT_STATE_DIR
from firstpull_agent.deliveries import MalformedDesired
from firstpull_agent.engines import Engine
from firstpull_agent.engines.choice import Kind, Places, UnusableSettings, choose_engine
from firstpull_agent.images import CannotPull, Image, login_for
from firstpull_agent.json_text import parse_json
from firstpull_agent.kubernetes_options import add_cluster_options, chosen_cluster
from firstpull_agent.logins import Logins
from firstpull_agent.probes import serve_probes
from firstpull_agent.registry import check_login
from firstpull_agent.reports import Failure, defect
from firstpull_agent.sealing_keys import FileKeys, KeyKind
from firstpull_agent.seals import SealMemory, Seals
from firstpull_agent.secret import Secret
from firstpull_agent.times import MachineTime, Time

if TYPE_CHECKING:
    from firstpull_agent.engines.kubernetes.engine import ClusterEngine
    from firstpull_agent.hub import AzureHub

_log = logging.getLogger(__name__)

_CONNECTION_STRING = "FIRSTPULL_DEVICE_CONNECTION_STRING"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 for a failure, 2 for a usage error."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )
    logging.getLogger("firstpull_agent").setLevel(logging.INFO)
    # At low levels the SDK logs whole twins; the agent logs the SDK's warnings itself.
    logging.getLogger("azure.iot.device").setLevel(logging.ERROR)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except UnusableSettings as error:
        return _fail(str(error), status=2)
    except Exception as error:  # a traceback could show a secret
        return _fail(str(defect(error)), status=1)


def _run(arguments: argparse.Namespace) -> int:
    asyncio.run(_serve(arguments))
    return 0


def _key(arguments: argparse.Namespace) -> int:
    keys = _keys(arguments)
    try:
        keys.discard_unfinished()
        if arguments.replace or not keys.exists():
            keys.make(arguments.kind)
        jwk = keys.public_jwk()
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror}", status=1)
    sys.stdout.write(json.dumps(jwk, indent=2) + "\n")
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    # Imported here: the SDK takes a second to load on a small device, and only `run` needs it.
    from firstpull_agent.service import Service  # noqa: PLC0415

    time, rng = MachineTime(), random.SystemRandom()
    cluster = _cluster(arguments, time)
    hub = _hub(arguments)
    convergence = _convergence(arguments, time, cluster, device_id=hub.device_id)
    service = Service(hub, convergence, time=time, rng=rng)
    beside = [cluster.follower.run(service.recheck)] if cluster else []
    if arguments.probe_port:

        def is_ready() -> bool:
            return service.has_read_twin and (cluster is None or cluster.follower.is_following())

        beside.append(serve_probes(arguments.probe_port, is_ready=is_ready))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    await service.run(*beside)


def _hub(arguments: argparse.Namespace) -> AzureHub:
    from firstpull_agent import hub  # noqa: PLC0415 - as above

    try:
        ca = arguments.hub_ca.read_text() if arguments.hub_ca else None
        settings = hub.HubSettings(gateway=arguments.gateway, ca=ca)
        given = (arguments.hub, arguments.certificate, arguments.key)
        if any(given):
            if not all((*given, arguments.device_id)):
                raise UnusableSettings("X.509 needs --hub, --device-id, --certificate and --key")
            return hub.connect_with_certificate(
                host=arguments.hub,
                device_id=arguments.device_id,
                certificate=arguments.certificate,
                key=arguments.key,
                settings=settings,
            )
        return hub.connect_with_key(_connection_string(arguments), settings)
    except OSError as error:
        raise UnusableSettings(f"{error.filename}: {error.strerror}") from None
    except ValueError:
        raise UnusableSettings("the device's connection string or key is malformed") from None


def _connection_string(arguments: argparse.Namespace) -> Secret:
    if arguments.connection_string_file:
        return Secret(arguments.connection_string_file.read_text())
    if given := os.environ.get(_CONNECTION_STRING):
        return Secret(given)
    raise UnusableSettings(
        f"give --connection-string-file, {_CONNECTION_STRING}, or --hub for X.509"
    )


def _apply(arguments: argparse.Namespace) -> int:
    time = MachineTime()
    cluster = _cluster(arguments, time)
    convergence = _convergence(arguments, time, cluster, device_id=arguments.device_id)
    if cluster is not None:
        asyncio.run(cluster.logins.look())
    try:
        convergence.adopt(parse_json(sys.stdin.read()), reported={})
    except MalformedDesired as error:
        return _fail(str(error), status=2)
    except ValueError:
        return _fail("standard input is not JSON", status=2)
    asyncio.run(settle(convergence, time=time, seconds=arguments.wait))
    sys.stdout.write(json.dumps(convergence.outcomes_patch()) + "\n")
    return 0 if convergence.all_logged_in() else 1


def _pull(arguments: argparse.Namespace) -> int:
    try:
        digest = _pulled_digest(arguments)
    except CannotPull as error:
        return _fail(str(error), status=1)
    except Failure as failure:
        return _fail(f"{failure.detail} ({failure.reason})", status=1)
    except OSError as error:
        return _fail(f"{error.filename or 'a file'}: {error.strerror}", status=1)
    sys.stdout.write(digest + "\n")
    return 0


def _pulled_digest(arguments: argparse.Namespace) -> str:
    image = Image.parse(arguments.image)
    engine = _engine(arguments)
    auth_file = str(engine.auth_file.path)
    applied = [login for login in _store(arguments).load() if login.auth_file == auth_file]
    login = login_for(image, applied, registry=arguments.registry)
    if not engine.auth_file.has(login.address):
        raise CannotPull(f"{engine.name} has no login for {login.address}")
    folder = image.reference.replace(":", "-")
    output = arguments.output or arguments.state_dir / "images" / image.repository / folder
    _log.info("%s pulls %s from %s", engine.name, image.repository, login.address)
    return f"{image.repository}@{engine.pull(image, login, output=output)}"


def _cluster(arguments: argparse.Namespace, time: Time) -> ClusterEngine | None:
    if arguments.engine is not Kind.KUBERNETES:
        return None
    return chosen_cluster(arguments, time=time, rng=random.SystemRandom())


def _convergence(
    arguments: argparse.Namespace,
    time: Time,
    cluster: ClusterEngine | None,
    *,
    device_id: str | None,
) -> Convergence:
    memory = SealMemory(arguments.state_dir / "seals.json")
    memory.discard_unfinished()
    seals = Seals(
        _keys(arguments),
        memory,
        device_id=device_id,
        required=arguments.require_sealed,
    )
    logins = _logins(arguments) if cluster is None else cluster.logins
    check = partial(check_login, now=time.now)
    return Convergence(logins, check=check, time=time, rng=random.SystemRandom(), seals=seals)


def _keys(arguments: argparse.Namespace) -> FileKeys:
    return FileKeys(arguments.state_dir / "sealing-keys.json")


def _logins(arguments: argparse.Namespace) -> Logins:
    store = _store(arguments)
    store.discard_unfinished()
    return Logins(engine=_engine(arguments), store=store)


def _store(arguments: argparse.Namespace) -> AppliedStore:
    store = AppliedStore(arguments.state_dir / "applied.json")
    try:
        store.load()
    except OSError as error:
        raise UnusableSettings(f"{error.filename}: {error.strerror}") from None
    return store


def _engine(arguments: argparse.Namespace) -> Engine:
    places = Places(arguments.state_dir, arguments.auth_file, arguments.certs_dir)
    return choose_engine(arguments.engine, places)


def _fail(message: str, *, status: int) -> int:
    sys.stderr.write(f"firstpull-agent: {message}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _command_parser(
        argparse.ArgumentParser,
        prog="firstpull-agent",
        description=(
            "Keeps this device logged in at its site's container registry, with the credential in"
            " its IoT Hub device twin."
        ),
        epilog="""\
usually a service runs this:
  firstpull-agent run --connection-string-file /etc/firstpull-agent/connection-string
and a person this, once a credential was delivered:
  firstpull-agent pull hello-world:v1

`firstpull-agent COMMAND --help` lists a command's options. Each option that takes a value can be
set in the environment as well: FIRSTPULL_AGENT_STATE_DIR for --state-dir, and so on.
exit status: 0 done, 1 failed, 2 wrong options or input""",
    )
    parser.add_argument(
        "--version", action="version", version=__version__, help="print the agent's version"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    common, sealed, state = _common_options(), _sealing_options(), _state_options()
    add = partial(_command_parser, commands.add_parser)

    run = add(
        "run",
        parents=[common, sealed],
        help="follow the device twin, until stopped",
        description=(
            "Connects to the device's IoT Hub, logs in with each credential that the twin"
            " delivers, and reports the outcome there. Give a connection string, or the four"
            " options of an X.509 certificate."
        ),
        epilog=f"""\
examples:
  firstpull-agent run --connection-string-file /etc/firstpull-agent/connection-string
  firstpull-agent run --hub contoso.azure-devices.net --device-id sensor-gateway-17 \\
      --certificate device.pem --key device.key

{_CONNECTION_STRING} may hold the connection string itself.""",
    )
    run.set_defaults(command=_run)
    key = run.add_argument_group("identity (a connection string)")
    _add(key, "--connection-string-file", Path, metavar="FILE", help="it is read from this file")
    x509 = run.add_argument_group("identity (an X.509 certificate)")
    _add(x509, "--hub", metavar="HOST", help="the IoT Hub's host name")
    _add(x509, "--device-id", metavar="ID", help="the device's id in the hub")
    _add(x509, "--certificate", Path, metavar="FILE", help="its certificate chain, PEM")
    _add(x509, "--key", Path, metavar="FILE", help="the certificate's key, PEM")
    way = run.add_argument_group("the way to the hub")
    _add(way, "--gateway", metavar="HOST", help="dial this host instead of the hub's own name")
    _add(way, "--hub-ca", Path, metavar="FILE", help="trust this CA (PEM) for the hub")
    add_cluster_options(run, _add)
    _add(
        run,
        "--probe-port",
        int,
        metavar="PORT",
        help="answer /livez and /readyz there, for a cluster's probes",
    )

    apply = add(
        "apply",
        parents=[common, sealed],
        help="apply the desired properties from standard input once",
        description=(
            "For a device whose application owns the connection to the hub: reads all desired"
            " properties as JSON from standard input, logs in and out, and prints the reported"
            " properties for the application to send."
        ),
        epilog="""\
example:
  firstpull-agent apply --wait 60 < desired.json > reported.json""",
    )
    apply.set_defaults(command=_apply)
    add_cluster_options(apply, _add)
    _add(
        apply,
        "--device-id",
        metavar="ID",
        help="the device's id in its hub, which sealed deliveries name",
    )
    _add(
        apply,
        "--wait",
        float,
        0.0,
        metavar="SECONDS",
        help="try again this long, while the registry does not know the credential yet",
    )

    pull = add(
        "pull",
        parents=[common],
        help="pull an image with the delivered login",
        description=(
            "Pulls with the delivered login that reaches the repository, and prints the image's"
            " name with its digest."
        ),
        epilog="""\
examples:
  firstpull-agent pull hello-world:v1
  firstpull-agent pull samples/web --registry plant01 --output /srv/images/web""",
    )
    pull.set_defaults(command=_pull)
    pull.add_argument(
        "image",
        metavar="REPOSITORY[:TAG]",
        help="without the registry's address; else latest",
    )
    _add(
        pull,
        "--registry",
        metavar="NAME",
        help="the connected registry or address to pull from, if several are delivered",
    )
    _add(pull, "--output", Path, metavar="DIR", help="the folder to write to (skopeo and oci)")

    own_key = add(
        "key",
        parents=[state],
        help="print the device's public key, for sealed deliveries",
        description=(
            "Prints the public key to which this device's password can be sealed, as a JWK for the"
            " onboarding request. The first call makes the key; it stays in the state folder."
        ),
        epilog="""\
examples:
  firstpull-agent key > key.json
  firstpull-agent key --replace > key.json     # the one before still opens deliveries""",
    )
    own_key.set_defaults(command=_key)
    own_key.add_argument(
        "--replace", action="store_true", help="make another key, which comes first"
    )
    _add(
        own_key,
        "--kind",
        KeyKind,
        KeyKind.EC,
        choices=list(KeyKind),
        help="the kind of a new key (default P-256)",
    )
    return parser


_Parser = TypeVar("_Parser", bound=argparse.ArgumentParser)


def _command_parser(
    make: Callable[..., _Parser],
    *names: str,
    **more: Any,  # noqa: ANN401 - argparse's own options
) -> _Parser:
    """A parser whose description and epilog keep their lines."""
    description = textwrap.fill(more.pop("description"), width=90)
    return make(
        *names,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )


def _common_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    common = parser.add_argument_group("the container engine and its files")
    _add(
        common,
        "--engine",
        Kind,
        Kind.AUTO,
        choices=list(Kind),
        help="who keeps the login and pulls (default auto: the first that works; oci: no engine)",
    )
    _add_state_dir(common)
    _add(
        common,
        "--auth-file",
        _path,
        metavar="FILE",
        help="the file of logins (default: where the engine looks)",
    )
    _add(
        common,
        "--certs-dir",
        _path,
        metavar="DIR",
        help="the folder of the registries' CAs (default: where the engine looks)",
    )
    return parser


def _state_options() -> argparse.ArgumentParser:
    state = argparse.ArgumentParser(add_help=False)
    _add_state_dir(state)
    return state


def _add_state_dir(parser: argparse._ActionsContainer) -> None:
    _add(
        parser,
        "--state-dir",
        _path,
        DEFAULT_STATE_DIR,
        metavar="DIR",
        help=f"what the agent remembers (default {DEFAULT_STATE_DIR})",
    )


def _sealing_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    sealing = parser.add_argument_group("sealed deliveries")
    variable = "FIRSTPULL_AGENT_REQUIRE_SEALED"
    sealing.add_argument(
        "--require-sealed",
        action=argparse.BooleanOptionalAction,
        default=os.environ.get(variable, "").lower() in {"1", "true", "yes"},
        help=f"take no password that is not sealed to this device's key ({variable}=true)",
    )
    return parser


def _path(text: str) -> Path:
    """An absolute path, because the agent compares it after a restart in another folder."""
    return Path(text).absolute()


def _add(
    parser: argparse._ActionsContainer,
    option: str,
    kind: Callable[[str], object] = str,
    default: object = None,
    **more: Any,  # noqa: ANN401 - argparse's own options
) -> None:
    variable = "FIRSTPULL_AGENT_" + option.lstrip("-").replace("-", "_").upper()
    # argparse converts a text default like the option's value.
    parser.add_argument(option, type=kind, default=os.environ.get(variable, default), **more)
