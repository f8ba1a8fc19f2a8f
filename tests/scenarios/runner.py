"""Reads a scenario (see README.md) and runs it against two real machines in the fake world."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.etcd import FakeEtcd

from twinhull.core import events
from twinhull.core.record import WitnessKind
from twinhull.core.settings import Keep, Return, StopMode

from .storage import BLOCKS
from .world import T_S, Node, World


class ScenarioError(AssertionError):
    """A line of a scenario is not understood, or what it expects is not so."""


@dataclass(frozen=True)
class Line:
    """One line of a scenario."""

    number: int
    text: str
    interrupted: bool


@dataclass(frozen=True)
class Scenario:
    """A scenario as it was read.

    Args:
        path: the file.
        settings: of the module.
        interrupt: (node, how) when the marked line is to be interrupted at every step of that node.
        lines: what happens and what is expected.
    """

    path: Path
    settings: dict[str, Any]
    interrupt: tuple[str, str] | None
    lines: tuple[Line, ...]


SETTINGS: dict[str, Callable[[str], tuple[str, Any]]] = {
    "witness": lambda text: ("witness", WitnessKind[text.upper()]),
    "preferred": lambda text: ("preferred", None if text == "nobody" else text),
    "return": lambda text: ("give_back", Return(text)),
    "stop mode": lambda text: ("stop_mode", StopMode(text)),
    "keep": lambda text: ("keep", Keep(text)),
    "restarts": lambda text: ("restart_limit", int(text)),
}


def read(path: Path) -> Scenario:
    """Parse a file. Raises ScenarioError with file and line."""
    settings: dict[str, Any] = {}
    interrupt = None
    lines: list[Line] = []
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        text = raw.split("#")[0].strip()
        if not text:
            continue
        head, colon, rest = text.partition(":")
        if colon and head in SETTINGS:
            key, value = SETTINGS[head](rest.strip())
            settings[key] = value
        elif colon and head == "interrupt":
            node, how = rest.split()
            interrupt = (node, how)
        else:
            lines.append(Line(number, text.removesuffix("!").strip(), text.endswith("!")))
    if not lines:
        raise ScenarioError(f"{path.name}: nothing happens in it")
    return Scenario(path, settings, interrupt, tuple(lines))


def run(scenario: Scenario) -> int:
    """Run it, once or once for every step that is interrupted. Returns how often it ran."""
    if scenario.interrupt is None:
        Run(scenario, 0).go()
        return 1
    at = 1
    while Run(scenario, at).go():
        at += 1
    return at


class Run:
    """One run of a scenario; `at`: the step of the marked line before which the node is stopped dead."""

    def __init__(self, scenario: Scenario, at: int) -> None:
        self._scenario = scenario
        self._at = at
        self._hit = False
        self.world = World(**scenario.settings)
        self._seen = 0
        self.backup: FakeEtcd | None = None

    def go(self) -> bool:
        """Whether the interruption struck (False: the marked line has fewer steps)."""
        marked = [line.number for line in self._scenario.lines if line.interrupted]
        for line in self._scenario.lines:
            try:
                if marked and line.number == marked[0]:
                    self._arm()
                self._line(line.text)
                if marked and line.number == marked[-1]:
                    self._hit = self.world.crash_at is None
                    self.world.crash_at = None
            except AssertionError as error:
                raise ScenarioError(self._story(line, error)) from error
        return self._hit

    def _arm(self) -> None:
        if self._scenario.interrupt is not None:
            node, how = self._scenario.interrupt
            self.world.counted, self.world.crash_at = 0, (node, self._at, how)

    def _story(self, line: Line, error: AssertionError) -> str:
        world = self.world
        told = [f"    {name}: {sentence}" for name, sentence in world.said]
        now = [f"    {name}: {_facts(node)}" for name, node in world.nodes.items()]
        where = f"{self._scenario.path.name}:{line.number}: {line.text}"
        step = [f"    {entry}" for entry in world.log]
        return "\n".join([where, f"  {error}", "  what was said:", *told, "  now:", *now, *step])

    def _line(self, text: str) -> None:
        for pattern, perform in COMMANDS:
            match = pattern.fullmatch(text)
            if match:
                perform(self, *match.groups())
                self.world.settle()
                return
        raise ScenarioError(f"this line is not understood: {text!r}")

    # ---- for the commands -------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """A node by its name."""
        return self.world.nodes[name]

    def expect(self, ok: bool, sentence: str) -> None:
        """Fail with this sentence unless it is so."""
        if not ok:
            raise ScenarioError(sentence)

    def heard(self) -> list[tuple[str, str]]:
        """Everything said since the last `expect ... says` of the story began."""
        return self.world.said


def _facts(node: Node) -> str:
    if node.process is None:
        return "no worker" if node.powered else "no power"
    view = node.view()
    whole = "uptodate" if view.uptodate else f"not uptodate ({view.outdated_reason})"
    return f"{view.state} {view.colour}, {whole}, resource {view.resource}, {view.phase} {view.waiting_for}"


# ---- commands ----------------------------------------------------------------------------------------


def _setup(run: Run, what: str) -> None:
    world = run.world
    if what == "nothing protected yet":
        return
    world.tell("a", events.Start(as_primary=True))
    world.advance(1)
    world.tell("b", events.Start())
    world.advance(4)
    for node in world.nodes.values():
        if node.process is not None:
            node.process.mirror.copied = 0
    if what == "the module runs on a, b in step":
        return
    world.tell("b", events.Stop())
    world.advance(2)
    world.tell("a", events.Stop())
    world.advance(2)


def _start(run: Run, name: str, override: str | None, without_witness: str | None) -> None:
    world = run.world
    world.judge.overridden = world.judge.overridden or bool(override and world.peer(name).record.generation)
    run.world.spawn(name)
    run.world.tell(name, events.Start(bool(override), bool(without_witness)))


def _command(make: Callable[..., events.Event]) -> Callable[..., None]:
    def perform(run: Run, name: str, *arguments: str) -> None:
        run.world.tell(name, make(*arguments))

    return perform


def _wait(run: Run, seconds: str) -> None:
    run.world.advance(float(seconds))


def _write(run: Run, name: str, first: str, last: str | None) -> None:
    for block in range(int(first), int(last or first) + 1):
        run.world.write(name, block % BLOCKS)


def _cut(run: Run, what: str) -> None:
    kinds = {"everything": ("stream", "agents"), "the stream": ("stream",), "the agents": ("agents",)}[what]
    run.world.cut |= {(kind, *way) for kind in kinds for way in (("a", "b"), ("b", "a"))}


def _cut_one_way(run: Run, source: str, target: str) -> None:
    run.world.cut |= {(kind, source, target) for kind in ("stream", "agents")}


def _heal(run: Run) -> None:
    run.world.cut.clear()


def _freeze(run: Run, what: str, name: str) -> None:
    process = run.node(name).process
    run.expect(process is not None, f"{name} has no worker")
    if process is not None:
        process.paused = what == "freeze"


def _agent(run: Run, name: str, state: str) -> None:
    run.node(name).agent_up = state == "up"
    run.world.tell(name, events.AgentLink(state == "up"))


def _disk(run: Run, name: str, what: str) -> None:
    disk = run.node(name).disk
    if what == "is well":
        disk.failed, disk.full, disk.hung, disk.record_fails, disk.record_hangs = (
            "",
            False,
            False,
            False,
            False,
        )
    elif what == "fails":
        disk.failed = "input/output error"
    elif what == "is full":
        disk.full = True
    elif what == "hangs":
        disk.hung = True
    elif what == "answers no record":
        disk.record_hangs = True
    elif what == "takes no record":
        disk.record_fails = True
    elif what == "loses its next record":
        disk.record_fails_once = True
    else:
        run.world.replace_disk(name)


def _host(run: Run, name: str, what: str) -> None:
    host = run.node(name).host
    facts = {
        "does not stop": ("guest_stops", False),
        "stops when asked": ("guest_stops", True),
        "does not start": ("start_fails", True),
        "starts when asked": ("start_fails", False),
        "cannot be mounted": ("attach_fails", True),
        "can be mounted": ("attach_fails", False),
        "is held": ("folder_busy", True),
        "is free": ("folder_busy", False),
        "cannot be turned off": ("off_fails", True),
        "can be turned off": ("off_fails", False),
    }
    setattr(host, *facts[what])


def _died(run: Run, name: str, wants: str = "") -> None:
    run.node(name).host.running = False
    run.world.tell(name, events.ResourceDied("the guest crashed", move=wants == "stopstart"))


def _witness(run: Run, name: str, what: str) -> None:
    run.node(name).witness = what


def _answers_land(run: Run, name: str) -> None:
    node = run.node(name)
    late, node.late = node.late, []
    for land in late:
        land()


def _etcd(run: Run, what: str) -> None:
    world = run.world
    if what == "is backed up":
        run.backup = world.etcd.copy()
    elif what == "loses the record":
        world.etcd.delete()
    elif run.backup is not None:
        same = what == "is restored under its old id"
        world.etcd.restore(run.backup, world.etcd.cluster if same else world.new_id())


def _expect_listed(run: Run, names: str) -> None:
    record = run.world.etcd.record
    wanted = {run.node(name).record.replica_id for name in names.split(" and ") if name != "nobody"}
    listed = set(record.may_start) if record is not None else set()
    run.expect(listed == wanted, f"the witness lists {record}, not {names}")


def _no_rescue(run: Run, name: str) -> None:
    run.node(name).rescue_trouble = "the disk is full"
    run.world.tell(name, events.RescueRoom("the disk is full"))


def _other_keep(run: Run, name: str, keep: str) -> None:
    node = run.node(name)
    node.settings = dataclasses.replace(node.settings, keep=Keep(keep))
    run.world.kill(name)  # the new worker reads the new configuration
    run.world.spawn(name)


def _expect_state(run: Run, name: str, state: str, colour: str | None) -> None:
    view = run.node(name).view()
    run.expect(
        view.state == state and colour in (None, view.colour),
        f"{name} is {view.state} {view.colour}, not {state} {colour or ''}",
    )


def _expect_whole(run: Run, name: str, no: str | None) -> None:
    record = run.node(name).record
    run.expect(
        record.uptodate is (no is None), f"{name}: uptodate is {record.uptodate} ({record.outdated_reason})"
    )


def _expect_says(run: Run, name: str, sentence: str) -> None:
    told = [said for who, said in run.world.said if who == name]
    run.expect(any(sentence in said for said in told), f"{name} did not say: {sentence}")


def _expect_never_says(run: Run, name: str, sentence: str) -> None:
    told = [said for who, said in run.world.said if who == name]
    run.expect(not any(sentence in said for said in told), f"{name} said: {sentence}")


def _expect_shows(run: Run, name: str, words: str) -> None:
    view = run.node(name).view()
    shown = [view.sentence, view.waiting_for, view.fault, view.phase, view.resource, view.outdated_reason]
    shown += view.warnings
    run.expect(any(words in text for text in shown), f"{name} does not show {words!r}, but {shown}")


def _expect_runs(run: Run, where: str) -> None:
    running = [name for name, node in run.world.nodes.items() if node.host.running]
    run.expect(
        running == [name for name in where.split(" and ") if name != "nowhere"], f"it runs on {running}"
    )


def _expect_acked(run: Run, count: str) -> None:
    done = run.world.judge.completed_ok
    run.expect(done == int(count), f"{done} requests were acknowledged, not {count}")


def _expect_failed(run: Run, count: str) -> None:
    run.expect(run.world.judge.failed == int(count), f"{run.world.judge.failed} requests failed, not {count}")


def _expect_equal(run: Run) -> None:
    run.expect(run.world.judge.equal(), "the disks differ")


def _expect_copied(run: Run, name: str, count: str) -> None:
    process = run.node(name).process
    copied = process.mirror.copied if process is not None else 0
    run.expect(copied == int(count), f"{name} copied {copied} blocks, not {count}")


def _expect_reply(run: Run, name: str, command: str, ok: str, words: str | None) -> None:
    replies = [reply for reply in run.node(name).replies if reply[0] == command]
    run.expect(bool(replies), f"{name} did not reply to {command}")
    _, good, sentence = replies[-1]
    run.expect(good is (ok == "yes"), f"{name} replied to {command}: {good}, {sentence}")
    run.expect(words is None or words in sentence, f"{name} replied to {command}: {sentence}")


def _expect_audit(run: Run, name: str, words: str) -> None:
    run.expect(
        any(words in line for line in run.node(name).audit), f"{name}: audit says {run.node(name).audit}"
    )


def _expect_same_generation(run: Run, how: str) -> None:
    a, b = (run.node(name).record.generation for name in "ab")
    run.expect((a == b) is (how == "one history"), f"the generations are {a} and {b}")


def _expect_green(run: Run, primary: str) -> None:
    second = run.world.peer(primary).name
    _expect_state(run, primary, "PRIM", "green")
    _expect_state(run, second, "SECOND", "green")
    _expect_runs(run, primary)
    _expect_whole(run, "a", None)
    _expect_whole(run, "b", None)
    _expect_same_generation(run, "one history")


def _expect_in_step(run: Run) -> None:
    names = [name for name in "ab" if run.node(name).process and run.node(name).view().state == "PRIM"]
    run.expect(len(names) == 1, f"PRIM: {names}")
    _expect_green(run, names[0])


def _everything_well(run: Run) -> None:
    world = run.world
    world.cut.clear()
    for name in "ab":
        world.power_on(name)
        world.spawn(name)
        world.tell(name, events.Start())
    world.advance(4 * T_S)


def _make(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("NODE", "([ab])"))


COMMANDS: tuple[tuple[re.Pattern[str], Callable[..., None]], ...] = tuple(
    (_make(pattern), perform)
    for pattern, perform in (
        (r"given (nothing protected yet|the module runs on a, b in step|both stopped, b first)", _setup),
        (r"start NODE( as primary)?( without the witness)?", _start),
        (r"stop NODE", _command(events.Stop)),
        (r"stop NODE by force", _command(lambda: events.Stop(forced=True))),
        (r"swap on NODE", _command(events.Swap)),
        (r"swap on NODE, saving", _command(lambda: events.Swap(StopMode.SAVE))),
        (r"abandon on NODE", _command(events.Abandon)),
        (r"restart on NODE", _command(events.Restart)),
        (r"stopstart on NODE", _command(events.StopStart)),
        (r"suspend checkers on NODE", _command(lambda: events.CheckersSuspended(True))),
        (r"resume checkers on NODE", _command(lambda: events.CheckersSuspended(False))),
        (r"window on NODE (opens|closes)", _command(lambda what: events.WindowOpen(what == "opens"))),
        (
            r"checker on NODE wants (restart|stopstart)",
            _command(lambda w: events.CheckerFailed("vm", w, "no heartbeat")),
        ),
        (r"guest on NODE crashes", _died),
        (r"guest on NODE crashes, its checker wants (restart|stopstart)", _died),
        (r"wait ([\d.]+) s", _wait),
        (r"write on NODE (\d+)(?:\.\.(\d+))?", _write),
        (r"flush on NODE", lambda run, name: run.world.flush(name)),
        (r"power off NODE", lambda run, name: run.world.power_off(name)),
        (r"power off NODE, disk keeps all", lambda run, name: run.world.power_off(name, lambda _: True)),
        (r"power on NODE", lambda run, name: run.world.power_on(name)),
        (r"kill worker of NODE", lambda run, name: run.world.kill(name)),
        (r"kill worker of NODE unseen", lambda run, name: run.world.kill(name, told=False)),
        (r"(freeze|thaw) NODE", _freeze),
        (r"cut (everything|the stream|the agents)", _cut),
        (r"cut from NODE to NODE", _cut_one_way),
        (r"heal", _heal),
        (r"agent of NODE is (up|down)", _agent),
        (
            r"disk of NODE (is well|fails|is full|hangs|answers no record|takes no record|loses its next record|"
            r"is replaced)",
            _disk,
        ),
        (r"(?:guest|folder|resource) (?:of|on) NODE (.*)", _host),
        (r"witness of NODE (grants|refuses|is silent|loses answers|answers late|is away)", _witness),
        (r"late requests of NODE land", _answers_land),
        (r"reset the witness on NODE", _command(events.WitnessReset)),
        (
            r"etcd (is backed up|loses the record|is restored|is restored under its old id)",
            _etcd,
        ),
        (r"expect the witness lists (.*)", _expect_listed),
        (r"no room for a rescue on NODE", _no_rescue),
        (r"keep of NODE is (\S+)", _other_keep),
        (r"repair and start all", _everything_well),
        (r"expect NODE (STOP|WAIT|ALONE|PRIM|SECOND)(?: (red|orange|green))?", _expect_state),
        (r"expect NODE (not )?uptodate", _expect_whole),
        (r"expect NODE says: (.*)", _expect_says),
        (r"expect NODE never says: (.*)", _expect_never_says),
        (r"expect NODE shows: (.*)", _expect_shows),
        (r"expect it runs on (.*)", _expect_runs),
        (r"expect it runs (nowhere)", _expect_runs),
        (r"expect (\d+) acknowledged", _expect_acked),
        (r"expect (\d+) failed", _expect_failed),
        (r"expect equal disks", _expect_equal),
        (r"expect NODE copied (\d+) blocks", _expect_copied),
        (r"expect NODE replies to ([\w-]+): (yes|no)(?:, (.*))?", _expect_reply),
        (r"expect NODE audits: (.*)", _expect_audit),
        (r"expect (one history|two histories)", _expect_same_generation),
        (r"expect NODE leads in green", _expect_green),
        (r"expect green", _expect_in_step),
    )
)
