"""The authority and its certificates as files."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from twinhull.errors import PkiError
from twinhull.transport import pki, tls
from twinhull.transport.tls import PeerIdentity, Role

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    pki.init_ca(tmp_path / "ca", "c1", now=NOW)
    return tmp_path / "ca"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class TestFiles:
    def test_keys_are_readable_by_their_owner_alone(self, authority: Path, tmp_path: Path) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        for directory in (authority, tmp_path / "a"):
            assert mode(directory) == 0o700
            assert all(mode(path) == 0o600 for path in directory.glob("*.key"))

    def test_a_node_gets_the_three_files_that_it_needs_and_nothing_else(
        self, authority: Path, tmp_path: Path
    ) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        assert sorted(contents(tmp_path / "a")) == ["ca.crt", "node.crt", "node.key"]

    def test_an_authority_is_never_overwritten(self, authority: Path) -> None:
        before = contents(authority)
        with pytest.raises(PkiError, match="there is an authority already"):
            pki.init_ca(authority, "c1")
        assert contents(authority) == before

    def test_an_authority_whose_certificate_is_lost_keeps_its_key(self, authority: Path) -> None:
        (authority / "ca.crt").unlink()
        before = contents(authority)
        with pytest.raises(PkiError):
            pki.init_ca(authority, "c1")
        assert contents(authority) == before

    def test_a_nodes_key_is_never_overwritten(self, authority: Path, tmp_path: Path) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        before = contents(tmp_path / "a")
        with pytest.raises(PkiError, match="exists, nothing was changed"):
            pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        assert contents(tmp_path / "a") == before

    def test_a_directory_that_others_can_open_gets_no_key(self, authority: Path, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir(mode=0o755)
        with pytest.raises(PkiError, match="open to others"):
            pki.issue(authority, "a", Role.NODE, tmp_path / "open", now=NOW)
        assert contents(tmp_path / "open") == {}

    def test_files_of_two_clusters_are_not_mixed(self, authority: Path, tmp_path: Path) -> None:
        pki.init_ca(tmp_path / "ca2", "c2", now=NOW)
        pki.issue(tmp_path / "ca2", "op", Role.OPERATOR, tmp_path / "a", now=NOW)
        before = contents(tmp_path / "a")
        with pytest.raises(PkiError, match="another cluster's authority"):
            pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        assert contents(tmp_path / "a") == before

    def test_without_the_authoritys_key_nothing_is_issued(self, authority: Path, tmp_path: Path) -> None:
        (authority / "ca.key").unlink()
        with pytest.raises(PkiError, match="key"):
            pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        assert not (tmp_path / "a").exists()

    def test_a_key_of_another_authority_is_noticed(self, authority: Path, tmp_path: Path) -> None:
        pki.init_ca(tmp_path / "ca2", "c2", now=NOW)
        (authority / "ca.key").write_bytes((tmp_path / "ca2" / "ca.key").read_bytes())
        with pytest.raises(PkiError, match="is not the key of"):
            pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)

    @pytest.mark.parametrize("name", ["", "a.b", "*", "a b", "-a", "a-", "ü", "x" * 64, "a/b", "a\n"])
    def test_names_that_could_mean_something_else_are_refused(
        self, authority: Path, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(PkiError, match="cannot be the name"):
            pki.issue(authority, name, Role.NODE, tmp_path / "a", now=NOW)

    @pytest.mark.parametrize("days", [0, -1, 10**6])
    def test_an_impossible_validity_is_refused(self, tmp_path: Path, days: int) -> None:
        with pytest.raises(PkiError, match="days"):
            pki.init_ca(tmp_path / "ca", "c1", days)


class TestRenewal:
    def test_a_renewed_certificate_is_valid_longer_for_the_same_name_and_key(
        self, authority: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "a"
        old = pki.issue(authority, "a", Role.NODE, out, 90, now=NOW)
        key = (out / "node.key").read_bytes()
        new = pki.renew(authority, out, now=NOW + timedelta(days=80))
        assert (new.name, new.kind, new.cluster) == ("a", "node", "c1")
        assert new.not_after > old.not_after
        assert (out / "node.key").read_bytes() == key
        assert sorted(contents(out)) == ["ca.crt", "node.crt", "node.key"]

    def test_only_its_own_authority_renews_a_certificate(self, authority: Path, tmp_path: Path) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", now=NOW)
        pki.init_ca(tmp_path / "ca2", "c1", now=NOW)
        before = contents(tmp_path / "a")
        with pytest.raises(PkiError, match="was not issued by"):
            pki.renew(tmp_path / "ca2", tmp_path / "a", now=NOW)
        assert contents(tmp_path / "a") == before

    def test_a_certificate_never_outlives_its_authority(self, tmp_path: Path) -> None:
        authority = pki.init_ca(tmp_path / "ca", "c1", 100, now=NOW)
        node = pki.issue(tmp_path / "ca", "a", Role.NODE, tmp_path / "a", 825, now=NOW)
        assert node.not_after <= authority.not_after


class TestShow:
    def test_it_lists_the_authority_and_the_certificate_with_the_days_left(
        self, authority: Path, tmp_path: Path
    ) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", 100, now=NOW)
        shown = pki.show(tmp_path / "a", now=NOW)
        assert [(info.kind, info.name, info.cluster) for info in shown] == [
            ("ca", "c1", "c1"),
            ("node", "a", "c1"),
        ]
        assert shown[1].days_left == 100
        assert [info.key_present for info in shown] == [False, True]
        assert not any(info.expiring or info.expired for info in shown)

    @pytest.mark.parametrize(
        ("days_later", "expiring", "expired"),
        [(69, False, False), (71, True, False), (99, True, False), (101, True, True)],
    )
    def test_less_than_thirty_days_are_flagged(
        self, authority: Path, tmp_path: Path, days_later: int, expiring: bool, expired: bool
    ) -> None:
        pki.issue(authority, "a", Role.NODE, tmp_path / "a", 100, now=NOW)
        info = pki.show(tmp_path / "a", now=NOW + timedelta(days=days_later))[1]
        assert (info.expiring, info.expired) == (expiring, expired)

    def test_an_empty_directory_shows_nothing(self, tmp_path: Path) -> None:
        assert pki.show(tmp_path) == []

    def test_a_file_that_is_no_certificate_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "node.crt").write_text("nothing")
        with pytest.raises(PkiError, match="cannot be read"):
            pki.show(tmp_path)


class TestNames:
    def test_an_operators_certificate_cannot_serve(self, authority: Path, tmp_path: Path) -> None:
        pki.issue(authority, "op", Role.OPERATOR, tmp_path / "op", now=NOW)
        certificate = x509.load_pem_x509_certificate((tmp_path / "op" / "operator.crt").read_bytes())
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.SERVER_AUTH not in usages

    @pytest.mark.parametrize(
        "identity",
        [
            PeerIdentity("a", Role.NODE, "c1"),
            PeerIdentity("a", Role.OPERATOR, "c1"),
            PeerIdentity("a", Role.NODE, "operator"),
            PeerIdentity("operator", Role.NODE, "operator"),
            PeerIdentity("Node-1", Role.NODE, "C"),
        ],
    )
    def test_a_name_in_a_certificate_means_one_identity(self, identity: PeerIdentity) -> None:
        assert tls.parse_dns_name(identity.dns_name()) == identity

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "a",
            "twinhull",
            "a.twinhull",
            "*.c1.twinhull",
            "a.c1.example",
            "a.b.c1.twinhull",
            "a..twinhull",
        ],
    )
    def test_other_names_mean_nothing(self, name: str) -> None:
        assert tls.parse_dns_name(name) is None

    def test_a_key_that_others_can_read_is_not_used(self, tmp_path: Path) -> None:
        pki.init_ca(tmp_path / "ca", "c1")
        pki.issue(tmp_path / "ca", "a", Role.NODE, tmp_path / "a")
        (tmp_path / "a" / "node.key").chmod(0o640)
        with pytest.raises(PkiError, match="can be read by others"):
            tls.server_context(tmp_path / "a")

    @pytest.mark.parametrize("missing", ["ca.crt", "node.crt", "node.key"])
    def test_a_missing_file_is_named(self, tmp_path: Path, missing: str) -> None:
        pki.init_ca(tmp_path / "ca", "c1")
        pki.issue(tmp_path / "ca", "a", Role.NODE, tmp_path / "a")
        (tmp_path / "a" / missing).unlink()
        with pytest.raises(PkiError, match=r"ca\.crt|node\.crt|node\.key"):
            tls.client_context(tmp_path / "a")
