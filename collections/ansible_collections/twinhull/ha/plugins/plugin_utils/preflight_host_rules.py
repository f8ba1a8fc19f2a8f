"""Judges one node for itself: what both platforms have in common. Pure."""

from __future__ import annotations

import ipaddress

from .preflight_model import MIB, Collector, Host, Limits, Site, listing, size_text

PYTHON_MINIMUM = (3, 11)


def judge_host(site: Site, host: Host, limits: Limits, found: Collector) -> None:
    """Memory, name, addresses, ports, reboot, antivirus, folders and installed agent of one node."""
    _unreadable(host, found)
    _privilege(host, found)
    _memory(site, host, limits, found)
    _name(host, found)
    _addresses(site, host, found)
    _ports(host, found)
    _reboot(host, found)
    _folders(site, host, found)
    _agent(host, limits, found)
    _antivirus(site, host, found)


def _unreadable(host: Host, found: Collector) -> None:
    for entry in host.get("unreadable", []):
        found.warning(
            "host.unreadable",
            (host.node,),
            f"node {host.node}: '{entry['part']}' could not be read, so it was not judged: {entry['error']}",
            "Repair that on the host, or look at it by hand.",
        )


def _privilege(host: Host, found: Collector) -> None:
    if host.get("root", True):
        return
    account = "an administrator" if host.platform == "windows" else "root (become: true)"
    found.error(
        "host.privilege",
        (host.node,),
        f"node {host.node}: the account that the playbook uses is not allowed to administer this host.",
        f"Connect as {account}.",
    )


def _memory(site: Site, host: Host, limits: Limits, found: Collector) -> None:
    total, node = int(host.get("memory.total_bytes", 0)), host.node
    if not total:
        return
    if total < limits.memory_minimum_bytes:
        found.error(
            "memory.small",
            (node,),
            f"node {node} has {size_text(total)} of memory; the agent alone needs "
            f"{size_text(limits.memory_minimum_bytes)}.",
            "Give the host more memory.",
        )
        return
    wanted = {vm["name"]: int(vm.get("memory_bytes", 0)) for vm in host.get("site_vms", [])}
    names = {module.domain: module.name for module in site.modules}
    for name, size_bytes in wanted.items():
        if name in names and size_bytes > total:
            found.error(
                "memory.vm",
                (node,),
                f"node {node} has {size_text(total)} of memory, but VM {name} is given {size_text(size_bytes)}: "
                "it could never start here.",
                "Give the host more memory, or the VM less.",
                names[name],
            )
            return
    needed = sum(size_bytes for name, size_bytes in wanted.items() if name in names)
    if needed and needed + limits.memory_reserve_bytes > total:
        found.warning(
            "memory.sum",
            (node,),
            f"node {node} has {size_text(total)} of memory; all protected VMs together take {size_text(needed)} and leave "
            f"less than {size_text(limits.memory_reserve_bytes)} for the host when this node runs them all.",
            "Give the host more memory, or the VMs less.",
        )
    else:
        found.ok("memory.sum", (node,), f"node {node} has {size_text(total)} of memory.")


def _name(host: Host, found: Collector) -> None:
    if not host.get("names"):
        return
    name, addresses, node = host.get("names.hostname", ""), host.get("names.resolves_to", []), host.node
    own = {entry["address"] for entry in host.get("addresses", [])}
    foreign = [text for text in addresses if text not in own and not _is_loopback(text)]
    if not addresses:
        why = "nobody answered in time" if host.get("names.timed_out", False) else "there is no such name"
        found.warning(
            "name.unresolved",
            (node,),
            f"node {node}: the host's own name '{name}' does not resolve ({why}), which slows logins and services down.",
            f"Add '{name}' to the DNS or to the host's hosts file.",
        )
    elif foreign and not own.intersection(addresses):
        found.warning(
            "name.foreign",
            (node,),
            f"node {node}: the host's own name '{name}' resolves to {listing(foreign)}, "
            "which is not an address of this host.",
            "Correct the DNS or the host's hosts file.",
        )
    else:
        found.ok(
            "name.resolved",
            (node,),
            f"node {node}: the host's own name '{name}' resolves to {listing(addresses)}.",
        )


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _addresses(site: Site, host: Host, found: Collector) -> None:
    if host.get("addresses") is None:
        return
    own = {_plain(entry["address"]): entry for entry in host.get("addresses", [])}
    for network, address in site.addresses.get(host.node, {}).items():
        entry = own.get(_plain(address))
        if entry is None:
            found.error(
                "address.missing",
                (host.node,),
                f"node {host.node}: {address} (network {network}) is on none of this host's interfaces.",
                "Set it on the host, or correct the inventory; perhaps the two nodes' addresses are exchanged.",
            )
        elif not entry.get("up", True):
            found.error(
                "address.down",
                (host.node,),
                f"node {host.node}: the interface {entry['interface']} with {address} (network {network}) is down.",
                "Plug the cable in, or bring the interface up.",
            )
        else:
            sentence = f"node {host.node}: {address} (network {network}) is on {entry['interface']}."
            found.ok("address.present", (host.node,), sentence)


def _plain(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return address


def _ports(host: Host, found: Collector) -> None:
    held = host.get("held_ports", [])
    for entry in held:
        if entry.get("ours"):
            continue
        by = entry.get("process") or "another program"
        remedy = "End that program, give it another port, or change 'ports' of the site."
        if by == "twinhull-probe":
            remedy = (
                "A preflight that was broken off left it; it ends by itself: run this again in 3 minutes."
            )
        found.error(
            "port.held",
            (host.node,),
            f"node {host.node}: TCP port {entry['port']} on {entry['address']} is held by {by} "
            f"(process {entry.get('pid', 0)}).",
            remedy,
        )
    if all(entry.get("ours") for entry in held):
        ours = sorted({int(entry["port"]) for entry in held})
        state = f"our own service listens on {', '.join(map(str, ours))}" if ours else "all ports are free"
        found.ok("port.free", (host.node,), f"node {host.node}: {state}.")


def _reboot(host: Host, found: Collector) -> None:
    reasons = host.get("pending_reboot", [])
    if reasons:
        found.warning(
            "reboot.pending",
            (host.node,),
            f"node {host.node} waits for a reboot: {listing(reasons)}.",
            "Reboot it before it runs protected VMs.",
        )
    else:
        found.ok("reboot.pending", (host.node,), f"node {host.node} waits for no reboot.")


def _folders(site: Site, host: Host, found: Collector) -> None:
    facts = {entry["path"]: entry for entry in host.get("folders", [])}
    for module in site.modules:
        entry = facts.get(module.folder)
        if entry is None or not module.folder:
            continue
        where, code = f"node {host.node}: the folder {module.folder} of module {module.name}", ""
        remedy = "Move what is there away, or give the module another folder."
        if entry.get("own_volume"):
            found.ok("folder.ours", (host.node,), f"{where} is the module's volume already.", module.name)
            continue
        if entry["exists"] and not entry["is_directory"]:
            code, sentence = "folder.file", f"{where} is a file."
        elif entry.get("mounted"):
            code, sentence = (
                "folder.mounted",
                f"{where} is a mount of something else already: {entry['mounted']}.",
            )
        elif entry.get("symlink_to"):
            code, sentence = "folder.link", f"{where} leads through a link to {entry['symlink_to']}."
            remedy = "Give the module the real path as its folder."
        elif entry["entries"]:
            code = "folder.not_empty"
            sentence = (
                f"{where} is not empty: {entry['entries']} entries, the first is '{entry['first_entry']}'."
            )
        if code:
            found.error(code, (host.node,), sentence, remedy, module.name)
        else:
            state = "is empty" if entry["exists"] else "does not exist yet"
            found.ok("folder.free", (host.node,), f"{where} {state}.", module.name)


def _agent(host: Host, limits: Limits, found: Collector) -> None:
    version, node = host.get("agent.version", ""), host.node
    if not version:
        found.ok("agent.version", (node,), f"node {node}: no agent is installed yet.")
        return
    if limits.agent_version and major(version) != major(limits.agent_version):
        found.error(
            "agent.major",
            (node,),
            f"node {node}: the agent {version} is installed; {limits.agent_version} is of another major version.",
            f"Use the bundle and the playbooks of version {major(version)}, or read the upgrade notes of "
            f"{major(limits.agent_version)} first.",
        )
        return
    service = host.get("agent.service", "")
    found.ok(
        "agent.version",
        (node,),
        f"node {node}: the agent {version} is installed ({service or 'no service'}).",
    )


def major(version: str) -> str:
    """The first number of a version."""
    return version.partition(".")[0]


def _antivirus(site: Site, host: Host, found: Collector) -> None:
    products = host.get("antivirus", [])
    if not products:
        found.ok("antivirus.none", (host.node,), f"node {host.node}: no known antivirus product runs.")
    data_dir = str(host.get("data_dir.path", ""))
    wanted = [path for path in (data_dir, *(module.folder for module in site.modules)) if path]
    for product in products:
        known = product.get("exclusions")
        if known is not None:
            have = {str(path).rstrip("\\/").lower() for path in known}
            missing = [path for path in wanted if path.rstrip("\\/").lower() not in have]
            if not missing:
                sentence = f"node {host.node}: {product['name']} leaves our directories alone."
                found.ok("antivirus.exclusions", (host.node,), sentence)
                continue
            sentence = f"node {host.node}: {product['name']} runs and scans {listing(missing)}."
        else:
            sentence = f"node {host.node}: {product['name']} runs; whether it leaves {listing(wanted)} alone cannot be read."
        remedy = (
            "The role 'antivirus' adds the exclusions."
            if product.get("managed")
            else "Exclude these directories and our processes in its settings; the role 'antivirus' prints the list."
        )
        found.warning("antivirus.exclusions", (host.node,), sentence, remedy)


def install_space(host: Host, limits: Limits, found: Collector) -> None:
    """Room for the agent itself."""
    free = int(host.get("install_dir.free_bytes", limits.install_bytes))
    if free < limits.install_bytes:
        found.error(
            "disk.install",
            (host.node,),
            f"node {host.node}: {size_text(free)} are free for {host.get('install_dir.path')}; the agent needs "
            f"{limits.install_bytes // MIB} MiB.",
            "Make room on that disk.",
        )
