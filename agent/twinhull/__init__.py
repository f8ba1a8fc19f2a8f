"""Twinhull keeps a virtual machine running when a server dies, with two servers and no shared storage."""

__version__ = "0.1.0"
