"""Disk images as qemu-img sees them: building its commands, reading its answers, flattening a chain."""

from __future__ import annotations

import concurrent.futures
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twinhull.errors import ResourceError

from .copying import data_bytes, finish_copy
from .run import Run

_SLOWEST_BYTES_PER_S = 1_000_000


class Image(NamedTuple):
    """One image.

    Args:
        path: where it lies, `block` when that is a block device.
        format: by the domain's definition, never guessed from the content, which the guest may write.
        size_bytes: what a copy of it will be long, `data_bytes` what has to be read.
        backing: the image that it builds on, or None.
        data_file: an external data file, or None.
        snapshots: number of snapshots inside it.
    """

    path: str
    format: str
    size_bytes: int
    data_bytes: int
    block: bool = False
    backing: str | None = None
    data_file: str | None = None
    snapshots: int = 0


def info_command(path: str, format_name: str) -> list[str]:
    """Describe one image (qemu-img(1))."""
    return ["qemu-img", "info", "-f", format_name, "--output=json", path]


def convert_command(source: str, format_name: str, target: str) -> list[str]:
    """Write an image and all that it builds on into a new one that builds on nothing."""
    return ["qemu-img", "convert", "-f", format_name, "-O", format_name, source, target]


def compare_command(source: str, target: str, format_name: str) -> list[str]:
    """Compare what the guest sees of two images; exit status 0 when it is the same."""
    return ["qemu-img", "compare", "-f", format_name, "-F", format_name, source, target]


def parse_info(text: str) -> tuple[str | None, str | None, int]:
    """Backing image, external data file and number of snapshots out of `info_command`'s answer."""
    try:
        answer = json.loads(text)
        backing = answer.get("full-backing-filename") or answer.get("backing-filename")
        data_file = answer.get("format-specific", {}).get("data", {}).get("data-file")
        return backing, data_file, len(answer.get("snapshots", []))
    except (ValueError, AttributeError) as error:
        raise ResourceError(f"The answer of qemu-img cannot be read: {error}.") from error


def inspect(path: str, format_name: str, run: Run, *, timeout_s: float) -> Image:
    """What there is to know of an image that nobody has open. Raises ResourceError."""
    try:
        status = Path(path).stat()
        to_read_bytes = data_bytes(Path(path))
    except OSError as error:
        raise ResourceError(f"The image {path} cannot be read: {error.strerror}.") from error
    block = stat.S_ISBLK(status.st_mode)
    image = Image(path, format_name, to_read_bytes if block else status.st_size, to_read_bytes, block)
    if format_name == "raw":
        return image
    answer = run(info_command(path, format_name), timeout_s=timeout_s)
    if answer.code != 0:
        raise ResourceError(
            f"The image {path} is not {format_name}, or in use: {answer.err.strip()}.",
            "Turn off whatever uses it.",
        )
    backing, data_file, snapshots = parse_info(answer.out)
    return image._replace(backing=backing, data_file=data_file, snapshots=snapshots)


def flatten(
    image: Image, target: Path, run: Run, on_bytes: Callable[[int], None], *, timeout_s: float
) -> None:
    """Copy an image with all that it builds on into one file, durable and compared afterwards.

    Args:
        image: the image.
        target: the new file; it appears under its name only when it is whole.
        run: runs qemu-img.
        on_bytes: told how many bytes arrived since the last time.
        timeout_s: seconds that are allowed beside the time for the amount of data.

    Raises ResourceError; then there is no target.
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    limit_s = timeout_s + image.size_bytes / _SLOWEST_BYTES_PER_S
    command = convert_command(image.path, image.format, str(part))
    reported_bytes = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            work = pool.submit(run, command, timeout_s=limit_s)
            while not concurrent.futures.wait([work], timeout=1.0).done:
                arrived_bytes = data_bytes(part) if part.exists() else 0
                on_bytes(max(0, arrived_bytes - reported_bytes))
                reported_bytes = max(reported_bytes, arrived_bytes)
        answer = work.result()
        if answer.code != 0:
            raise ResourceError(f"Copying {image.path} to {target} failed: {answer.err.strip()}.")
        answer = run(compare_command(image.path, str(part), image.format), timeout_s=limit_s)
        if answer.code != 0:
            raise ResourceError(
                f"The copy of {image.path} differs from it: {answer.out.strip()} {answer.err.strip()}",
                "Check the disk below the folder; the original is unchanged.",
            )
        finish_copy(part, target)
    except (OSError, ResourceError):
        part.unlink(missing_ok=True)
        raise
