"""Fleets of real hosts on this machine: Debian with systemd and sshd, joined by real networks, for the playbooks."""
