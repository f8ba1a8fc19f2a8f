"""Every suite of libiscsi's conformance test, `iscsi-test-cu`, against the export.

A test that does not apply is named here with its reason, and is seen to fail for it: one that begins to pass is noticed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.integration.exports.iscsi.conftest import GIB
from tests.integration.exports.iscsi.serving import Serving, settings_for

pytestmark = pytest.mark.skipif(
    shutil.which("iscsi-test-cu") is None, reason="iscsi-test-cu is not installed (Debian: libiscsi-bin)"
)

ONE_SESSION = "a second initiator is let in, but a module has one session; reservations are refused whole"
UNALIGNED = (
    "with physical blocks of 4096 bytes it asks for the status of a block inside of one and expects the answer to begin at "
    "the next: SBC-3 5.5 has it begin at the block that was asked for (it passes with physical blocks of 512 bytes, below)"
)
DOES_NOT_APPLY = {
    ("GetLBAStatus", "UnmapSingle"): UNALIGNED,
    **{
        ("ProutReserve", f"{what}{kind}"): ONE_SESSION
        for what in ("Access", "Ownership")
        for kind in ("EA", "WE", "EARO", "WERO", "EAAR", "WEAR")
    },
}


class Outcome(NamedTuple):
    """What a run of the tool came to."""

    ran: int
    failed: dict[tuple[str, str], str]
    refused_logins: int


def conformance(url: str, only: str = "") -> Outcome:
    """Run the tool, destructive tests included; of each test that failed its lines."""
    command = ["iscsi-test-cu", "--dataloss", "--normal", *(("-t", only) if only else ()), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    summary = re.search(r"^\s+tests\s+\d+\s+(\d+)\s", done.stdout, re.MULTILINE)
    assert summary is not None, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    failed = {}
    for piece in re.split(r"^(?=Suite )", done.stdout, flags=re.MULTILINE):
        named = re.match(r"Suite (\w+), Test (\S+) had failures:", piece)
        if named is not None:
            failed[named[1], named[2]] = piece
    return Outcome(int(summary[1]), failed, done.stderr.count("Status: Out of resources"))


@pytest.mark.parametrize("unit_bytes", [512, 4096])
def test_all_suites_pass(backing: Path, unit_bytes: int) -> None:
    with Serving(backing, settings_for(GIB, unit_bytes=unit_bytes)) as serving:
        outcome = conformance(serving.url)
    assert outcome.ran == 615
    assert set(outcome.failed) == set(DOES_NOT_APPLY), outcome.failed
    refused = list(DOES_NOT_APPLY.values()).count(ONE_SESSION)
    assert outcome.refused_logins == 2 * refused, "each of them is in two families of the tool's"
    assert "lba offset in first descriptor does not" in outcome.failed["GetLBAStatus", "UnmapSingle"]


def test_the_test_of_unaligned_status_passes_where_it_applies(backing: Path) -> None:
    with Serving(backing, replace(settings_for(GIB), physical_bytes=512)) as serving:
        outcome = conformance(serving.url, "ALL.GetLBAStatus")
    assert outcome == (3, {}, 0)
