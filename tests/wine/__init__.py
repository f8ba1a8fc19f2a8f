"""Windows Python on this machine: Wine prefixes that are made once and copied in seconds.

`template` makes and caches what all prefixes begin as; `prefix` is one host's: it copies, runs programs, and ends them.

    prefix = Prefix(tmp_path / "host", template.python())
    prefix.start()
    ran = prefix.python("-c", "import sys; print(sys.platform)", timeout_s=60)
    prefix.stop()

By hand: `python -m tests.wine python -c ...`, `python -m tests.wine pytest tests/windows_python`.
"""
