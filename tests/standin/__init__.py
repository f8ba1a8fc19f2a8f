"""Windows hosts without Windows: a WinRM endpoint that takes unmodified playbooks, over a model of each host.

Layers, each knowing only those above it:

- `paths`, `files`, `model`: what a host is made of. Plain data; copying a host is cheap.
- `payload`: what ansible-core sends over WinRM, decoded. Pure.
- `argspec`: arguments of a module against its documentation. Pure but for the cached look-up.
- `handlers/`: one function per module: model and arguments in, result out. In check mode a handler works on a copy.
- `commands`, `scripts`, `twinhull_cli`: what a command line or a PowerShell script does to the model.
- `machine`: carries out what was decoded, on the model (`ModelMachine`); the seam for other kinds of host.
- `wsman`, `endpoint`: the protocol (pure) and the server.
- `fleet`: sites of two hosts each, their inventory, and running playbooks against them.
"""
