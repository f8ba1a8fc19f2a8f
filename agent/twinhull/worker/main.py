"""Start of a worker: `python -m twinhull.worker.main --node-config FILE --module NAME`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twinhull import config as configuration
from twinhull import log as logs
from twinhull.errors import TwinhullError

from .parts import build_parts
from .worker import Worker

WORKING_SET_MIB = 128
WORKING_SET_MAX_MIB = 512


def sit_under_page_cache() -> list[str]:
    """Keep this process from waiting for the volume that it serves; a sentence for each step that the host denies."""
    if sys.platform == "win32":
        from twinhull.windows.process import hold_memory

        try:
            hold_memory(WORKING_SET_MIB, WORKING_SET_MAX_MIB)
        except OSError as error:
            return [f"The worker's memory cannot be held ({error}): run it as LocalSystem."]
        return []
    from twinhull.exports.fuse import hardening

    return hardening.sit_under_page_cache()


def say_last_words(error: Exception) -> None:
    """Print why this process ends: the agent shows the last line in the status."""
    print(" ".join(str(error).split()), file=sys.stderr, flush=True)  # noqa: T201


def main(argv: Sequence[str] | None = None) -> int:
    """Run one module's worker until its agent ends it.

    Returns 0 after an orderly end, the error's exit code when it cannot begin (the agent shows why).
    """
    parser = argparse.ArgumentParser(description="The worker of one module; started by the agent.")
    parser.add_argument("--node-config", type=Path, required=True)
    parser.add_argument("--module", required=True)
    arguments = parser.parse_args(argv)
    warnings = sit_under_page_cache()  # before any thread is started
    try:
        node = configuration.load_node(arguments.node_config)
        cluster = configuration.load_cluster(node.cluster_config, node)
        handle = logs.setup_logging(node.log_dir, node.node, arguments.module, stderr=False)
    except (TwinhullError, OSError) as error:
        say_last_words(error)
        return 1
    log = logs.Log(node.node, arguments.module, "worker")
    try:
        for warning in warnings:
            log.warning("%s", warning)
        Worker(build_parts(node, cluster, arguments.module, log)).run()
    except TwinhullError as error:
        log.error("the worker cannot go on: %s", error)
        say_last_words(error)
        return error.exit_code
    except Exception:
        log.exception("the worker ends because of a defect")
        return 70
    finally:
        handle.close()
        logging.shutdown()
    return 0


if __name__ == "__main__":
    # Threads that are stuck in a dead disk must not keep the process, and with it the volume's lock, alive.
    os._exit(main())
