"""What the service manager of Windows is told about an agent's life, whatever happens to the agent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from twinhull.agent import service_life
from twinhull.agent.main import Manager
from twinhull.agent.service_life import ACCEPTED, DEFECT, Control, ServiceLife, State, Status
from twinhull.errors import ConfigError

PATIENCE_S = 30.0


class FakeAgent:
    """An agent that is at work until it is told to end."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def end(self) -> None:
        """See Agent."""
        self.told.set()


class FakeServiceManager:
    """Hears what is reported; starts the service in a thread, as Windows does."""

    def __init__(self, serve: Callable[[Manager], int], prepare: Callable[[], None] = lambda: None) -> None:
        self.heard: list[Status] = []
        self.told: list[str] = []
        self.died: list[int] = []
        self.deaf = False
        self._news = threading.Condition()
        self.life = ServiceLife(
            self._hear, prepare, serve, self.told.append, self.died.append, progress_s=0.01
        )
        self._thread = threading.Thread(target=self.life.live, daemon=True)

    def _hear(self, status: Status) -> None:
        if self.deaf:
            raise OSError("nobody hears")
        with self._news:
            self.heard.append(status)
            self._news.notify_all()

    def start(self) -> FakeServiceManager:
        self._thread.start()
        return self

    def await_(self, what: Callable[[list[Status]], bool]) -> None:
        """Until something was heard."""
        with self._news:
            assert self._news.wait_for(lambda: what(self.heard), PATIENCE_S), self.heard

    def await_state(self, state: State) -> None:
        self.await_(lambda heard: bool(heard) and heard[-1].state == state)

    def over(self) -> Status:
        """The last report, when the life is over."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.heard[-1]

    def states(self) -> list[State]:
        """What was reported, repetitions left out."""
        found: list[State] = []
        for status in self.heard:
            if not found or found[-1] != status.state:
                found.append(status.state)
        return found


@pytest.fixture(autouse=True)
def _hook_of_threads() -> Iterator[None]:
    before = threading.excepthook
    yield
    threading.excepthook = before


def at_work(agent: FakeAgent, ends: Callable[[Manager], int] = lambda _: 0) -> Callable[[Manager], int]:
    """An agent's main: at work until it is told to end."""

    def serve(manager: Manager) -> int:
        manager.takes(agent)  # type: ignore[arg-type]
        manager.ready()
        assert agent.told.wait(PATIENCE_S)
        manager.ending()
        return ends(manager)

    return serve


def test_it_runs_only_when_the_agent_is_at_work_and_stops_without_an_error() -> None:
    manager = FakeServiceManager(at_work(FakeAgent())).start()
    manager.await_state(State.RUNNING)
    assert manager.heard[-1] == Status(State.RUNNING, ACCEPTED)
    assert manager.life.control(Control.STOP, 0) == 0
    assert manager.over() == Status(State.STOPPED)
    assert manager.states() == [State.START_PENDING, State.RUNNING, State.STOP_PENDING, State.STOPPED]
    assert manager.told == []
    assert not manager.life.host_goes_down()


def test_a_pending_state_accepts_nothing_and_makes_progress() -> None:
    go_on = threading.Event()

    def serve(_: Manager) -> int:
        assert go_on.wait(PATIENCE_S)
        return 0

    manager = FakeServiceManager(serve).start()
    manager.await_(lambda heard: len(heard) >= 3)
    go_on.set()
    manager.over()
    pending = manager.heard[:-1]
    assert {status.state for status in pending} == {State.START_PENDING}
    assert [status.checkpoint for status in pending] == list(range(1, len(pending) + 1))
    assert all(status.hint_ms > 0 and status.accepted == 0 for status in pending)


def test_a_configuration_that_is_wrong_is_told_with_its_exit_code() -> None:
    def serve(_: Manager) -> int:
        raise ConfigError(r"C:\ProgramData\Twinhull\node.yml cannot be read.", "Write it.")

    manager = FakeServiceManager(serve).start()
    assert manager.over() == Status(State.STOPPED, exit_code=ConfigError.exit_code)
    [why] = manager.told
    assert r"C:\ProgramData\Twinhull\node.yml cannot be read. Write it." in why


@pytest.mark.parametrize(
    "error", [RuntimeError("a hole"), SystemExit(0), ImportError("no module named _cffi")]
)
def test_a_defect_before_or_during_the_work_is_told_with_where_it_was(error: BaseException) -> None:
    def serve(_: Manager) -> int:
        raise error

    manager = FakeServiceManager(serve).start()
    assert manager.over() == Status(State.STOPPED, exit_code=DEFECT)
    [why] = manager.told
    assert type(error).__name__ in why and "test_service_life.py" in why


def test_an_agent_that_breaks_at_its_end_is_no_orderly_stop() -> None:
    def breaks(_: Manager) -> int:
        raise OSError("the disk is gone")

    manager = FakeServiceManager(at_work(FakeAgent(), breaks)).start()
    manager.await_state(State.RUNNING)
    manager.life.control(Control.STOP, 0)
    assert manager.over() == Status(State.STOPPED, exit_code=DEFECT)


def test_nothing_is_reported_after_the_end() -> None:
    manager = FakeServiceManager(lambda _: 3).start()
    manager.over()
    stopped = [status for status in manager.heard if status.state == State.STOPPED]
    assert stopped == [manager.heard[-1]]
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_shutdown_of_the_host_hands_over_while_the_manager_is_kept_waiting() -> None:
    agent, asked = FakeAgent(), []
    handed_over = threading.Event()

    def hands_over(manager: Manager) -> int:
        asked.append(manager.host_goes_down())
        assert handed_over.wait(PATIENCE_S)
        return 0

    manager = FakeServiceManager(at_work(agent, hands_over)).start()
    manager.await_state(State.RUNNING)
    assert manager.life.control(Control.PRESHUTDOWN, 0) == 0
    manager.await_(lambda heard: heard[-1].state == State.STOP_PENDING and heard[-1].checkpoint >= 3)
    handed_over.set()
    assert manager.over() == Status(State.STOPPED)
    assert asked == [True]


def test_one_that_was_told_to_end_before_it_was_at_work_ends_and_never_runs() -> None:
    agent = FakeAgent()
    told = threading.Event()

    def serve(manager: Manager) -> int:
        assert told.wait(PATIENCE_S)
        manager.takes(agent)  # type: ignore[arg-type]
        manager.ready()
        assert agent.told.wait(PATIENCE_S)
        return 0

    manager = FakeServiceManager(serve).start()
    manager.await_state(State.START_PENDING)
    manager.life.control(Control.STOP, 0)
    told.set()
    assert manager.over() == Status(State.STOPPED)
    assert State.RUNNING not in manager.states()


def test_controls_that_nobody_accepted_are_refused_and_a_question_is_answered() -> None:
    manager = FakeServiceManager(at_work(FakeAgent()))
    assert manager.life.control(Control.INTERROGATE, 0) == 0
    assert manager.life.control(2, 0) == service_life.NOT_KNOWN  # pause
    assert manager.heard == []


class Heard(logging.Handler):
    """Keeps what is logged there."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What the service's life logs."""
    handler = Heard()
    service_life.log.addHandler(handler)
    yield handler.lines
    service_life.log.removeHandler(handler)


def test_sleep_and_waking_are_logged(heard: list[str]) -> None:
    life = FakeServiceManager(at_work(FakeAgent())).life
    assert life.control(Control.POWER, service_life.SUSPENDS) == 0
    assert life.control(Control.POWER, service_life.RESUMES) == 0
    assert [line.partition(":")[0] for line in heard] == [
        "WARNING this host goes to sleep",
        "WARNING this host woke up",
    ]


def test_an_agent_that_hangs_is_ended_so_that_recovery_starts_it_again() -> None:
    manager = FakeServiceManager(at_work(FakeAgent()))
    assert manager.life.watchdog_s() > 0
    manager.life.hangs()
    assert manager.died == [DEFECT]
    assert "does not do its work any more" in manager.told[0]


def test_a_manager_that_does_not_hear_or_cannot_be_prepared_stops_no_agent() -> None:
    def cannot() -> None:
        raise OSError("access is denied")

    agent = FakeAgent()
    manager = FakeServiceManager(at_work(agent), prepare=cannot)
    manager.deaf = True
    thread = threading.Thread(target=manager.life.live, daemon=True)
    thread.start()
    agent.end()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert manager.told == []


def test_a_thread_that_breaks_is_logged_because_a_service_has_no_standard_error(heard: list[str]) -> None:
    def breaks() -> None:
        raise ValueError("odd")

    def serve(_: Manager) -> int:
        thread = threading.Thread(target=breaks, name="helper")
        thread.start()
        thread.join()
        return 0

    FakeServiceManager(serve).start().over()
    assert heard == ["CRITICAL the thread helper ended because of a defect: odd"]
