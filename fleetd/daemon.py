"""``fleetd``: the composition root. The only file that names concrete adapters."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import uvloop

from fleetd import __version__, log
from fleetd.api.app import Api, HookSpec
from fleetd.api.listener import Listener, is_local
from fleetd.api.tokens import Tokens
from fleetd.clock import SystemClock
from fleetd.config import Settings, load
from fleetd.controller.intake import Intake
from fleetd.controller.loop import Controller
from fleetd.controller.own_host import Machine, own_host, witnesses
from fleetd.controller.patrolling import Between
from fleetd.controller.recovery import Recovery, Report
from fleetd.errors import FleetdError
from fleetd.executor.activity import Activity
from fleetd.executor.changes import Changes
from fleetd.executor.executor import Executor, push_root
from fleetd.executor.hooks import HookRuns
from fleetd.executor.on_host import OnHost
from fleetd.executor.power import Power
from fleetd.executor.sources import Sources
from fleetd.host.connection import SshIdentity
from fleetd.host.hooks import HookCommands
from fleetd.host.identity import check_private_key
from fleetd.host.port import SshHosts
from fleetd.host.programs import ControlPrograms
from fleetd.host.signing import OrderSigner
from fleetd.journal.blobs import FileBlobs
from fleetd.journal.sqlite import SqliteJournal
from fleetd.model.fleet import Fleet, Host
from fleetd.nix.builder import NixBuilder
from fleetd.nix.cache import BinaryCache
from fleetd.nix.compare import NixComparer
from fleetd.nix.evaluation import machine_budget
from fleetd.nix.git import GitCommits
from fleetd.nix.nar import dump
from fleetd.nix.on_target import TargetBuilder
from fleetd.nix.signing import NixSigner
from fleetd.nix.store import NixStore
from fleetd.probes.rounds import Probes
from fleetd.push.pusher import ServePusher
from fleetd.push.transfer import PushSettings
from fleetd.rollout.decision import Capacity, Extend
from fleetd.rollout.states import Trial
from fleetd.sources import colmena, deploy_rs
from fleetd.sources.file import FleetFile
from fleetd.sources.flake import FlakeFleet
from fleetd.sources.imported import ImportedFleet, LeftOut, Read
from fleetd.sources.reader import FleetReader, TableSource
from fleetd.systemd import notify, watchdog

LAST_EXTEND_TIMEOUT_S = 15.0

RECOVER_HELP = "after a restored backup: ask all hosts what the journal does not know, and end what is under way"

NOT_ALL_KNOWN = 5
"""Exit code of a recovery that could not ask every host; as of a deploy that could not."""

RETAIN_FIRST_S = 60.0
RETAIN_EVERY_S = 3600.0
"""When what ended long ago may leave the journal: a bounded part of it each time, so that it catches up in hours."""

BROKEN_FLEET = "the fleet is broken: the last good one serves, and nothing new starts until it is mended"

FLEET_TIMEOUT_S = 120.0
"""For a flake's plain data; most of it is fetching the flake."""

IMPORT_TIMEOUT_S = 900.0
"""What other tools say of a host is part of its configuration: its modules are evaluated, seconds for each."""


def this_machine() -> Machine:
    """Return what this machine is; without a machine-id, as in some containers, its name alone tells it."""
    try:
        machine_id = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine_id = ""
    return Machine(machine_id, socket.gethostname())


class Daemon:
    """Everything that a running fleetd consists of."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._machine = this_machine()
        self.clock = SystemClock()
        identity = SshIdentity(
            client_keys=(str(settings.identity),),
            known_hosts=str(settings.known_hosts) if settings.known_hosts else None,
            connect_timeout_s=settings.connect_timeout_s,
            login_timeout_s=settings.login_timeout_s,
        )
        orders = OrderSigner(settings.order_key, "signing.order_key") if settings.order_key else None
        self.hosts = SshHosts(identity, self.clock, self._host, orders.sign if orders else None)
        store, builder = NixStore(settings.state / "gcroots"), nix_builder(settings)
        comparer = NixComparer(store)
        signer = NixSigner(settings.nix_key) if settings.nix_key else None
        self.probes = Probes(self.hosts, self._witnesses)
        self.blobs = FileBlobs(settings.state / "logs")
        self.on_host = OnHost(self.clock, self.hosts, store, self.blobs)
        activity = Activity(self.clock, self.blobs)
        commits = GitCommits(settings.state / "git", settings.allowed_signers)
        self.executor = Executor(
            clock=self.clock,
            on_host=self.on_host,
            sources=Sources(self.clock, builder, store, activity, commits),
            pusher=ServePusher(
                self.hosts,
                store,
                dump,
                signer.signed if signer else None,
                PushSettings(bytes_per_s=settings.push_bytes_per_s),
                live_roots=self._live_roots,
                publish=BinaryCache(settings.push_cache).publish if settings.push_cache else None,
            ),
            targets=TargetBuilder(self.hosts),
            probe=self.probes,
            fleet=lambda: self.intake.current,
            limits=Capacity(evaluate=builder.evaluations_at_once),
            power=Power(self.clock, self.on_host, ControlPrograms(), self.blobs),
            hooks=HookRuns(self.clock, HookCommands(self.hosts, str(settings.state)), self.blobs),
            activity=activity,
            changes=Changes(self.clock, comparer, self.blobs),
        )
        self.journal = SqliteJournal(settings.state)
        self.controller = Controller(
            clock=self.clock,
            journal=self.journal,
            executor=self.executor,
            between=Between(
                lambda: self.intake.current,
                settings.observe_every_s,
                settings.contact_s,
                self._own,
                lambda: bool(self.intake.fleet_problem),
            ),
        )
        self.intake = Intake(
            controller=self.controller,
            source=fleet_source(settings, builder),
            builder=builder,
            store=store,
            comparer=comparer,
            on_host=self.on_host,
            activity=activity,
            clock=self.clock,
            contact_s=settings.contact_s,
            allowed=settings.allow,
            own=self._own,
        )

    def _live_roots(self) -> list[str]:
        return [push_root(name) for name, _rollout in self.controller.world.active()]

    def _own(self, fleet: Fleet) -> str | None:
        return own_host(self._machine, fleet, self._machine_id)

    def _machine_id(self, host: str) -> str:
        newest = self.on_host.newest_facts(host)
        return newest[0].machine_id if newest is not None else self.controller.world.record(host).machine_id

    def _witnesses(self, host: Host) -> Sequence[Host]:
        """Return who has to reach a host as well before its login counts: nobody, but for the host of this machine."""
        fleet, world = self.intake.current, self.controller.world
        if host.name != self._own(fleet):
            return ()
        return witnesses(fleet, host.name, is_free=lambda name: world.holder(name) is None)

    def _host(self, name: str) -> Host | None:
        return self.intake.current.hosts.get(name)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        hangup = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
        reloader = asyncio.create_task(self._reload_when_asked(hangup), name="reload")
        watching = asyncio.create_task(watchdog(), name="watchdog")
        try:
            await self.serve(stop, lambda: notify("READY=1"))
        finally:
            reloader.cancel()
            watching.cancel()
            await asyncio.gather(reloader, watching, return_exceptions=True)

    async def serve(self, stop: asyncio.Event, is_ready: Callable[[], None]) -> None:
        """Serve until told to stop; leaves trials to their guards with one last extend. Calls back when it answers."""
        try:
            # The journal first: the state directory is this process's own from here on.
            await self.controller.start()
            await self.intake.start()
            if self.intake.fleet_problem:
                structlog.get_logger().error(BROKEN_FLEET, problem=self.intake.fleet_problem)
            listener = await self._listen()
            try:
                await self._until(stop, is_ready)
            finally:
                notify("STOPPING=1")
                await listener.close()
                await self._last_extend()
        finally:
            await self._close()

    async def recover(self, *, only_look: bool) -> Report:
        """Ask the hosts what a restored journal does not know (``controller.recovery``). Raises JournalError.

        Raises ConfigError, SourceError where the fleet cannot be read.
        """
        try:
            await self.intake.start()
            recovery = Recovery(
                clock=self.clock,
                journal=self.journal,
                hosts=self.hosts,
                fleet=self.intake.current,
                contact_s=self.settings.contact_s,
            )
            return await (recovery.look() if only_look else recovery.run())
        finally:
            await self._close()

    async def _close(self) -> None:
        await self.executor.close()
        await self.probes.close()
        await self.hosts.close()
        await self.journal.close()

    async def _until(self, stop: asyncio.Event, is_ready: Callable[[], None]) -> None:
        """Run the controller until told to stop. Raises JournalError, after which the process must end."""
        logger = structlog.get_logger()
        loop = asyncio.create_task(self.controller.run(), name="controller")
        keeper = asyncio.create_task(self._keep_short(), name="retention")
        stopper = asyncio.create_task(stop.wait(), name="stop")
        is_ready()
        logger.info("started", version=__version__, term=self.controller.world.term, listen=self.settings.listen)
        try:
            await asyncio.wait({loop, keeper, stopper}, return_when=asyncio.FIRST_COMPLETED)
            for task in (loop, keeper):
                if task.done():
                    task.result()
        finally:
            stopper.cancel()
            keeper.cancel()
            loop.cancel()
            await asyncio.gather(loop, keeper, stopper, return_exceptions=True)
            logger.info("stopping")

    async def _keep_short(self) -> None:
        """Let what ended long ago leave the journal, now and then. Raises JournalError."""
        wait_s = RETAIN_FIRST_S
        while True:
            await self.clock.sleep(wait_s)
            wait_s = RETAIN_EVERY_S
            own = self._own(self.intake.current)
            if own is not None and self.controller.world.holder(own) is not None:
                # The release before this one may have to take over again, and it knows no baselines.
                continue
            if went := await self.controller.shorten(self.settings.keep_s):
                structlog.get_logger().info("old records left the journal", records=went)

    async def _reload_when_asked(self, asked: asyncio.Event) -> None:
        """Read the fleet anew on SIGHUP, so that hosts in trial are found at an address that was edited."""
        logger = structlog.get_logger()
        while await asked.wait():
            asked.clear()
            try:
                fleet = await self.intake.reload()
                logger.info("the fleet was read anew", hosts=len(fleet.hosts))
            except FleetdError as error:
                logger.error(BROKEN_FLEET, problem=str(error))

    async def _last_extend(self) -> None:
        """Give a restart the whole of the silence that a trial survives."""
        world = self.controller.world
        for name, rollout in world.active():
            for host, state in rollout.hosts.items():
                if isinstance(state, Trial) and state.live.lost_since is None:
                    task, fence = state.task, state.live.fence
                    self.executor.ask(Extend(name, host, task.attempt, task.direction, fence), rollout.header.spec)
        await self.executor.settle(LAST_EXTEND_TIMEOUT_S)

    async def _listen(self) -> Listener:
        hooks = {
            hook.name: HookSpec(hook.provider, hook.auth, hook.secrets, hook.refs, hook.policy, hook.on, hook.supersede)
            for hook in self.settings.hooks
        }
        api = Api(self.intake, self.journal, Tokens(self.settings.state), hooks, self.blobs)
        listener = Listener(api.application())
        await listener.open(self.settings.listen)
        for place in self.settings.listen:
            if not is_local(place):
                structlog.get_logger().warning(
                    "plain HTTP beyond this machine: put a proxy with TLS before it, or tokens can be read on the way",
                    listen=place,
                )
        return listener


def nix_builder(settings: Settings) -> NixBuilder:
    """Return what evaluates and builds."""
    budget = machine_budget(settings.eval_memory_mib)
    return NixBuilder(settings.state / "gcroots", budget=budget, cache=settings.state / "evaluations")


def fleet_source(settings: Settings, builder: NixBuilder | None = None, *, keep: bool = True) -> FleetReader:
    """Return where the fleet is, after a look at the key for its hosts; ``keep``: remember the last good one."""
    check_private_key(settings.identity, "ssh.identity")
    source = table_source(settings, builder or NixBuilder(settings.state))
    kept = settings.state / "fleet.json" if keep else None
    return FleetReader(source, contact_s=settings.contact_s, flake=settings.flake, keep=kept)


def table_source(settings: Settings, builder: NixBuilder) -> TableSource:
    """Return where the table of the fleet comes from."""
    flake, file = settings.flake or "", FleetFile(settings.fleet_path) if settings.fleet_path else None
    left_out = LeftOut(settings.leave_out)

    async def evaluate(installable: str) -> str:
        return await builder.data(installable, timeout_s=FLEET_TIMEOUT_S)

    def imported(output: str, view: str, read: Read) -> TableSource:
        place = f"{flake}#{output}"

        async def look() -> str:
            return await builder.data(place, timeout_s=IMPORT_TIMEOUT_S, view=view)

        return ImportedFleet(place, look, read, left_out, file)

    if settings.hive is not None:
        hive = str(settings.hive)

        async def look() -> str:
            return await builder.hive_data(hive, timeout_s=IMPORT_TIMEOUT_S)

        return ImportedFleet(hive, look, colmena.reader(colmena.of_file(hive)), left_out, file)
    if settings.source == "colmena":
        return imported(colmena.OUTPUT, "colmena", colmena.reader(colmena.of_flake(flake)))
    if settings.source == "deploy-rs":
        return imported(deploy_rs.OUTPUT, "deploy-rs", deploy_rs.reader(flake))
    return file or FlakeFleet(flake, evaluate)


def main() -> int:
    """Run the daemon; every known error is one message and exit 1."""
    parser = argparse.ArgumentParser(prog="fleetd", description="Rolls NixOS fleets forward in waves, and back.")
    parser.add_argument("--config", help="TOML file (default: $FLEETD_CONFIG or /etc/fleetd/config.toml)")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", nargs="?", choices=["recover"], help=RECOVER_HELP)
    parser.add_argument("--dry-run", action="store_true", help="with recover: only say what it would do")
    args = parser.parse_args()
    if args.dry_run and args.command is None:
        parser.error("--dry-run belongs to recover")
    try:
        settings = load(args.config)
        log.configure(settings.log_format, quiet=args.command is not None)
        daemon = Daemon(settings)
        if args.command is not None:
            report = uvloop.run(daemon.recover(only_look=args.dry_run))
            sys.stdout.write("".join(f"{line}\n" for line in report.lines(only_look=args.dry_run)))
            return NOT_ALL_KNOWN if report.silent else 0
        uvloop.run(daemon.run())
    except FleetdError as error:
        sys.stderr.write(f"fleetd: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
