"""Unmodified plays with plain modules: the model changes once, truthfully in check mode, and not again."""

from __future__ import annotations

from pathlib import Path

from tests.standin.fleet import Fleet
from tests.standin.model import HostState

PLAY = Path(__file__).parent / "plays" / "modules.yml"
HOSTS = ("lyon-a", "lyon-b")


def test_a_play_changes_the_model_once_and_check_mode_not_at_all(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet", tls=False) as fleet:
        site = fleet.add_site("lyon")
        extra = {"fetch_to": str(tmp_path / "fetched")}
        inventory = fleet.plain_inventory()
        before = site.a.state.observable()

        check = fleet.play(PLAY, "--check", "--diff", extra=extra, inventory=inventory)
        assert check.exit_code == 0, check.text
        assert site.a.state.observable() == before
        assert check.recap("lyon-a")["changed"] >= 10

        first = fleet.play(PLAY, extra=extra, inventory=inventory)
        assert first.exit_code == 0, first.text
        _assert_changed(site.a.state)
        assert (tmp_path / "fetched" / "lyon-a" / "C:" / "Data" / "hello.txt").read_text() == "höllo lyon-a\n"

        after = site.a.state.observable()
        second = fleet.play(PLAY, extra=extra, inventory=inventory)
        assert second.exit_code == 0, second.text
        assert [second.recap(host)["changed"] for host in HOSTS] == [0, 0], second.text
        assert site.a.state.observable() == after
        assert fleet.problems() == []


def _assert_changed(state: HostState) -> None:
    files = state.files
    assert files.text(r"C:\Data\hello.txt") == "höllo lyon-a\n"
    assert files.text(r"c:\data\TREE\below\two.txt") == "two\n"
    assert files.text(r"C:\Data\greeting.txt").strip() == "for lyon-a"
    assert files.text(r"C:\Data\unpacked\inside.txt") == "inside\n"
    assert state.services["msiscsi"].state == "started"
    assert state.services["msiscsi"].start_mode == "auto"
    rule = state.firewall_rules["test"]
    assert (rule.localport, rule.profiles) == ("7410,7411", ("domain", "private"))
    assert state.registry_get(r"HKLM:\SOFTWARE\Test", "number") == 7
    assert state.users["joe"].groups == {"Users"}
    assert state.environment["TEST_WORD"] == "word"
    assert state.power.plan == "high performance"
    assert state.features["Multipath-IO"]
