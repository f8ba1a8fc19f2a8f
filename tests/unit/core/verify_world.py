"""A pair that is compared while its VM writes, with differences planted underneath, which the comparison must name."""

from __future__ import annotations

from tests.unit.core.mirror_world import SECTOR, SIZE, World

from twinhull.core import effects as fx
from twinhull.core.marks import BLOCK_BYTES
from twinhull.core.mirror import Repair, VerifyReport, VerifySettings

BLOCKS = SIZE // BLOCK_BYTES
SECTORS = BLOCK_BYTES // SECTOR
CHECKED_SHARE = 0.1
"""How many of the steps of a comparison are followed by all checks of the promises: those take most of the time."""


class VerifyWorld(World):
    """A world in which comparisons run.

    Args:
        seed, capacities: see `World`.
        repair: what a comparison does.
        troubles: whether connections break and nodes crash.
    """

    def __init__(
        self,
        seed: int,
        capacities: tuple[int, int] = (4, 4),
        *,
        repair: Repair = Repair.NO,
        extended: bool = True,
        troubles: bool = False,
    ) -> None:
        super().__init__(seed, capacities)
        self.repair = repair
        self.extended = extended
        self.troubles = troubles
        self.planted: dict[int, tuple[int, bytes]] = {}  # sector to the node and its content there
        self.blocks_ever: set[int] = set()  # that ever had a planted difference
        self.reports: list[VerifyReport] = []
        self.reasons: list[str] = []
        self.healing = False

    def answered(self, node: int, answer: fx.Complete) -> None:
        if answer.tag in self.reads:
            first, count = self.reads[answer.tag]
            if any(sector in self.planted for sector in range(first, first + count)):
                del self.reads[answer.tag]
                return
        super().answered(node, answer)

    # ---- planting --------------------------------------------------------------------------------------

    def plant(self, count: int) -> None:
        """Change sectors that the VM never wrote, on one node, behind its back."""
        for _ in range(count):
            hot = self.rng.random() < 0.5 and self.blocks
            block = self.rng.choice(sorted(self.blocks)) if hot else self.rng.randrange(BLOCKS)
            sector = block * SECTORS + self.rng.randrange(SECTORS)
            if sector in self.history.sectors or sector in self.planted:
                continue
            node = self.rng.randrange(2)
            data = bytes([self.rng.randrange(1, 256)]) * SECTOR
            disk = self.nodes[node].disk
            for copy in (disk.volatile, disk.durable):
                copy[sector * SECTOR : (sector + 1) * SECTOR] = data
            disk.changes[block] += 1
            self.planted[sector] = (node, data)
            self.blocks_ever.add(block)

    def differing(self) -> set[int]:
        """Blocks in which a planted sector still differs, once everything under way is over on both nodes."""
        while self.writes or self.flushes or self.reads:
            self.one(submit=False)
        a, b = (node.disk.volatile for node in self.nodes)
        spans = {sector: slice(sector * SECTOR, (sector + 1) * SECTOR) for sector in self.planted}
        return {sector // SECTORS for sector, span in spans.items() if a[span] != b[span]}

    # ---- comparing -------------------------------------------------------------------------------------

    @property
    def comparing(self) -> bool:
        """Whether a comparison is under way."""
        return self.serving is not None and (
            self.nodes[self.serving].mirror.verify_report(self.now_s) is not None
        )

    def confirm_copy(self) -> None:
        """The confirmation of a copy, which the world may have kept back: nothing is compared before it."""
        if self.serving is not None and self.session and self.green:
            self.nodes[self.serving].mirror.finish_copy(self.now_s)

    def verify(self, *, from_bytes: int = 0, repair: Repair | None = None) -> bool:
        """Begin a comparison, if that is possible now."""
        assert self.serving is not None
        return self.nodes[self.serving].mirror.start_verify(
            from_bytes,
            self.repair if repair is None else repair,
            VerifySettings(range_blocks=32, max_ops=3, max_rechecks=2),
            extended=self.extended,
            now_s=self.now_s,
        )

    def moves(self) -> list[tuple[str, float]]:
        found = super().moves()
        if not self.troubles:
            found = [(move, w) for move, w in found if move.rstrip("01") not in ("cut", "power", "kill")]
        if self.session and self.green and not self.comparing and not self.healing:
            found.append(("verify", 12))
        return found

    def perform(self, move: str) -> None:
        if move == "verify":
            self.confirm_copy()
            self.verify()
        else:
            super().perform(move)

    def settle(self) -> None:
        super().settle()
        for node in self.nodes:
            while node.verified:
                ended = node.verified.popleft()
                assert isinstance(ended.report, VerifyReport)
                self.reports.append(ended.report)
                self.reasons.append(ended.reason)
                self.check_report(ended.report)

    def check_report(self, report: VerifyReport) -> None:
        """No false alarm: whatever was called different had a planted difference."""
        named = named_blocks(report)
        assert named <= self.blocks_ever, f"false alarm: {sorted(named - self.blocks_ever)}"
        assert report.repaired_bytes <= report.differing_bytes

    def check_sector(self, disk: bytearray, sector: int, *, flushed_only: bool) -> None:
        if sector not in self.planted:  # nobody promises anything of what was tampered with
            super().check_sector(disk, sector, flushed_only=flushed_only)

    def check(self) -> None:
        """The promises hold for all that was not tampered with."""
        written, self.blocks = self.blocks, self.blocks - self.blocks_ever
        super().check()
        self.blocks = written

    # ---- whole runs ------------------------------------------------------------------------------------

    def run_verify(
        self, *, submit: bool = True, repair: Repair | None = None, from_bytes: int = 0
    ) -> VerifyReport:
        """One whole comparison, while the VM goes on to write unless told otherwise."""
        while self.comparing:
            self.one(submit=submit)
        before = len(self.reports)
        while not self.verify(repair=repair, from_bytes=from_bytes):
            self.confirm_copy()
            self.one(submit=submit)
        self.settle()
        while len(self.reports) == before:
            self.one(submit=submit)
        assert self.reasons[-1] == "", self.reasons[-1]
        return self.reports[-1]

    def heal(self) -> None:
        self.healing = True
        super().heal()

    def one(self, *, submit: bool) -> None:
        """One step without a new comparison."""
        moves = [
            (move, weight)
            for move, weight in self.moves()
            if move != "verify" and (submit or move != "submit")
        ]
        self.perform(self.rng.choices([m for m, _ in moves], [w for _, w in moves])[0])
        self.settle()
        if self.rng.random() < CHECKED_SHARE:
            self.check()


def named_blocks(report: VerifyReport) -> set[int]:
    """The blocks that a report calls different."""
    return {
        block
        for offset, length in report.differences
        for block in range(offset // BLOCK_BYTES, (offset + length) // BLOCK_BYTES)
    }
