"""What `make bench` measures, in which order, and what becomes of the samples."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from bench import fio, initiator, logs, report
from bench.limit import limit
from bench.plan import Lack, UnknownNameError, eta_s, possible, rounds, select, with_needed
from bench.rows import Sample, merged, rows
from bench.works import CPU_WORK, LIMIT, LOCAL, SYSTEMS, TGT, TWINHULL, WORKS, Group

FACTS = {
    "date": "2026-01-01",
    "processors": 2,
    "processor": "x",
    "kernel": "6",
    "python": "3.11",
    "commit": "abc",
    "load": 3.0,
    "busy": True,
}


def test_nothing_named_means_everything_that_each_system_can_do() -> None:
    assert [(w.name, s) for w, s in select("")] == [
        (w.name, s) for w in WORKS for s in SYSTEMS if s in w.systems
    ]


def test_only_names_works_and_systems() -> None:
    chosen = select("write-4k, read-4k twinhull limit")
    assert [(w.name, s) for w, s in chosen] == [
        ("write-4k", TWINHULL),
        ("write-4k", LIMIT),
        ("read-4k", TWINHULL),
        ("read-4k", LIMIT),
    ]


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match=r"wirte-4k.*write-4k.*glusterfs"):
        select("wirte-4k")


def test_a_system_named_alone_means_all_that_it_can_do() -> None:
    assert {(w.group, s) for w, s in select("tgt")} == {(Group.ISCSI, TGT)}
    assert [(w.name, s) for w, s in select("iscsi-4k tgt")] == [("iscsi-4k", TGT)]


def test_every_work_on_the_iscsi_disk_has_its_job_and_nothing_else_has() -> None:
    assert set(initiator.JOBS) == {work.name for work in WORKS if work.group is Group.ISCSI}


def test_what_a_machine_lacks_is_told_by_name_and_the_rest_is_measured() -> None:
    chosen = select("iscsi-4k write-4k twinhull tgt glusterfs")
    able, lacks = possible(chosen, lambda system: ["tgtd"] if system == TGT else [], lambda _: [])
    assert [(w.name, s) for w, s in able] == [
        ("write-4k", "twinhull"),
        ("write-4k", "glusterfs"),
        ("iscsi-4k", "twinhull"),
    ]
    assert lacks == [Lack(TGT, ["tgtd"])]
    able, lacks = possible(chosen, lambda _: [], lambda group: ["qemu-img"] * (group is Group.ISCSI))
    assert {w.name for w, _ in able} == {"write-4k"}
    assert lacks == [Lack("the iSCSI disk", ["qemu-img"])]


def test_what_was_not_chosen_is_not_missed() -> None:
    chosen = select("write-4k twinhull")
    assert possible(chosen, lambda system: [] if system == TWINHULL else ["x"], lambda _: []) == (chosen, [])


@pytest.mark.parametrize("work", ["write-4k", "iscsi-4k"])
def test_the_limit_of_a_local_path_brings_it_along_and_comes_after_it(work: str) -> None:
    (steps,) = rounds(with_needed(select(f"{work} limit twinhull")), 3)
    for repeat in range(3):
        systems = [step.system for step in steps if step.repeat == repeat]
        assert sorted(systems) == sorted([TWINHULL, LIMIT, LOCAL])
        assert systems.index(LOCAL) < systems.index(LIMIT)


def test_repeats_are_interleaved_and_begin_with_another_system_each_time() -> None:
    (steps,) = rounds(select("write-4k twinhull glusterfs"), 2)
    assert [(step.system, step.repeat) for step in steps] == [
        ("twinhull", 0),
        ("glusterfs", 0),
        ("glusterfs", 1),
        ("twinhull", 1),
    ]


def test_the_time_left_is_what_each_work_took_before() -> None:
    (steps,) = rounds(select("write-4k read-4k twinhull"), 2)
    assert eta_s(steps, {}, 10.0) == 40.0
    assert eta_s(steps, {"write-4k": [1.0, 3.0], "read-4k": [5.0]}, 10.0) == 14.0


def test_rows_hold_median_spread_and_repeats() -> None:
    found = rows({("write-4k", TWINHULL): [Sample(3.0, {"p99_ms": 9.0}), Sample(1.0), Sample(2.0)]})
    assert found == [
        {
            "work": "write-4k",
            "system": "twinhull",
            "median": 2.0,
            "unit": "ms",
            "repeats": 3,
            "spread": [1.0, 3.0],
            "notes": {"p99_ms": 9.0},
        }
    ]


def test_a_partial_run_replaces_only_what_it_measured() -> None:
    old = rows({("write-4k", TWINHULL): [Sample(3.0)], ("read-4k", TWINHULL): [Sample(5.0)]})
    new = rows({("write-4k", TWINHULL): [Sample(2.0)]})
    assert [(row["work"], row["median"]) for row in merged(old, new)] == [("write-4k", 2.0), ("read-4k", 5.0)]


def test_limits_are_sums_of_times_and_the_slower_of_rates() -> None:
    assert limit("write-4k", Sample(0.1), Sample(0.2)).value == pytest.approx(0.3)
    assert limit("write-4k-fsync", Sample(1.0), Sample(0.2)).value == pytest.approx(1.4)
    assert limit("iscsi-4k", Sample(0.1), Sample(0.2)).value == pytest.approx(0.3)
    assert limit("iscsi-4k-depth16", Sample(9000.0), Sample(15000.0)).value == 9000.0
    assert limit("iscsi-read-1m", Sample(800.0), None).value == 800.0
    assert limit("write-1m", Sample(900.0), Sample(700.0)).value == 700.0
    assert limit("read-4k", Sample(0.1), None).value == 0.1
    assert limit("resync-whole", None, Sample(700.0)).value == 700.0


def test_fio_figures_come_in_the_unit_of_the_work() -> None:
    clat = {"mean": 2e6, "percentile": {"50.000000": 1e6, "99.000000": 5e6}}
    side = {"total_ios": 10, "iops": 1234.5, "bw_bytes": 7e8, "clat_ns": clat}
    flush = {"lat_ns": {"percentile": {"50.000000": 3e6, "99.000000": 8e6}}}
    output = "note: some warning\n" + json.dumps({"jobs": [{"write": side, "read": side, "sync": flush}]})
    assert fio.sample("write-4k", output).value == 1.0
    assert fio.sample("write-4k-depth16", output).value == 1234.5
    assert fio.sample("write-1m", output).value == 700.0
    assert fio.sample("write-4k-fsync", output).value == 4.0
    side["total_ios"] = 0
    with pytest.raises(ValueError, match="did nothing"):
        fio.sample("read-4k", json.dumps({"jobs": [{"write": side, "read": side}]}))


def test_the_initiator_is_asked_for_what_the_work_says() -> None:
    url = "iscsi://127.0.0.1:1/x/0"
    write = initiator.command(initiator.JOBS["iscsi-4k-depth16"], url, 500)
    assert write[:4] == ["qemu-img", "bench", "-f", "raw"] and write[-1] == url and "-w" in write
    assert write[write.index("-c") + 1] == "500" and write[write.index("-d") + 1] == "16"
    assert "-w" not in initiator.command(initiator.JOBS["iscsi-read-1m"], url, 500)


def test_small_requests_meet_all_of_the_disk_before_any_block_comes_twice() -> None:
    job = initiator.JOBS["iscsi-4k"]
    blocks = initiator.DISK_BYTES // job.size_bytes
    assert len({number * job.step_bytes % initiator.DISK_BYTES for number in range(blocks)}) == blocks


def test_what_the_initiator_says_becomes_figures_in_the_unit_of_the_work() -> None:
    said = "Sending 1000 write requests, 4096 bytes each\nRun completed in 0.500 seconds.\n"
    assert initiator.took_s(said) == 0.5
    for silent in ("", "Run completed in 0.000 seconds."):
        with pytest.raises(ValueError, match="did not tell"):
            initiator.took_s(silent)
    assert initiator.sample("iscsi-4k", 1000, 0.5, 0.125) == Sample(0.5, {"cpu_us": 125.0})
    assert initiator.sample("iscsi-4k-depth16", 1000, 0.5, 0.1).value == 2000.0
    assert initiator.sample("iscsi-1m", 1000, 0.5, 0.1).value == pytest.approx(2097.152)
    assert initiator.sample(CPU_WORK, 1000, 0.5, 0.125) == Sample(125.0, {"per_s": 2000.0})


def test_an_initiator_without_its_driver_is_found_out() -> None:
    assert not initiator.speaks("qemu-img: Could not open 'iscsi://x': Unknown protocol 'iscsi'")
    assert initiator.speaks("qemu-img: Could not open 'iscsi://x': iSCSI: Failed to connect to LUN")


def test_the_last_copy_in_a_log_is_timed() -> None:
    lines = [
        "2026-01-01T10:00:00.000+00:00 INFO a/M1 M1 is copied from a to b",
        "2026-01-01T10:00:01.000+00:00 INFO a/M1 M1 is mirrored: fine",
        "2026-01-01T10:01:00.500+00:00 INFO a/M1 M1 is copied from a to b",
        "2026-01-01T10:01:03.000+00:00 INFO a/M1 M1 is mirrored: fine",
    ]
    assert logs.between_s("\n".join(lines), "is copied from", "is mirrored") == 2.5
    with pytest.raises(ValueError, match="does not tell"):
        logs.between_s("\n".join(lines[:3]), "is copied from", "is mirrored")


def test_the_page_gets_tables_a_mark_of_a_busy_machine_and_plots_that_are_svg() -> None:
    found = rows({("write-4k", name): [Sample(1.0), Sample(2.0)] for name in SYSTEMS})
    page = f"before\n{report.BEGIN}\nstale figures\n{report.END}\nafter"
    text = report.replaced(page, report.section(found, FACTS))
    assert text.startswith("before\n") and text.endswith("\nafter") and "stale" not in text
    assert "only the ratios" in text and "1.5 (1 to 2)" in text
    for svg in report.plots(found).values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    disks = rows({("iscsi-4k", TGT): [Sample(1.0)]})
    assert "### The iSCSI disk" in report.section(disks, FACTS)
    assert TGT in report.plots(disks)["performance-iscsi.svg"]
    with pytest.raises(ValueError, match="marks"):
        report.replaced("a page", "text")
