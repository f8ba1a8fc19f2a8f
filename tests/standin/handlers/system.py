"""Registry, features, users, environment, power, facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from .. import paths
from ..model import HostState, User
from .base import Call, Handler, ModuleFailedError, Result, with_diff

_HIVES = {"hklm:": "HKLM:", "hkcu:": "HKCU:", "hkcr:": "HKCR:", "hku:": "HKU:", "hkcc:": "HKCC:"}


def _key(text: str) -> str:
    hive, _, rest = text.replace("/", "\\").partition("\\")
    if hive.casefold() not in _HIVES:
        raise ModuleFailedError(
            f"path: {text} is not a valid powershell path, must begin with HKLM:, HKCU:, ..."
        )
    return f"{_HIVES[hive.casefold()]}\\{rest.rstrip(chr(92))}"


def win_regedit(call: Call) -> Result:
    """One value or key of the registry."""
    host, args, path = call.host, call.args, _key(call.args["path"])
    values = host.registry.get(path.casefold())
    name = args["name"] or ""
    result: Result = {"changed": False, "data_changed": False, "data_type_changed": False}
    if args["state"] == "absent":
        return _registry_remove(call, path, result)
    made = (args["type"], _registry_data(args["type"], args["data"]))
    before = (values or {}).get(name.casefold())
    if values is None:
        host.registry[path.casefold()] = {}
        host.registry_names[path.casefold()] = path
        result["changed"] = True
    if (args["name"] is not None or args["data"] is not None) and before != made:
        host.registry_set(path, name, *made)
        result |= {"changed": True}
        if before is not None:
            result |= {"data_changed": before[1] != made[1], "data_type_changed": before[0] != made[0]}
    shown = {path: {name: before[1]}} if before else {path: {}}
    return with_diff(call, result, shown, {path: {name: made[1]}})


def _registry_remove(call: Call, path: str, result: Result) -> Result:
    host, name = call.host, call.args["name"]
    if call.args["delete_key"] and name is None:
        gone = [
            key for key in host.registry if key == path.casefold() or key.startswith(path.casefold() + "\\")
        ]
        for key in gone:
            del host.registry[key]
        return {**result, "changed": bool(gone)}
    values = host.registry.get(path.casefold(), {})
    before = values.pop((name or "").casefold(), None)
    return with_diff(call, {**result, "changed": before is not None}, {path: {name: before}}, {path: {}})


def _registry_data(kind: str, data: Any) -> Any:
    if kind in ("dword", "qword"):
        if data is None:
            return 0
        return int(data, 16) if isinstance(data, str) and data.startswith("0x") else int(data)
    if kind == "multistring":
        return list(data) if isinstance(data, list) else [part for part in str(data or "").split(",") if part]
    return "" if data is None else data if isinstance(data, list) else str(data)


def win_reg_stat(call: Call) -> Result:
    """A key or a value of the registry."""
    host, path, name = call.host, _key(call.args["path"]), call.args["name"]
    values = host.registry.get(path.casefold())
    if name is not None:
        found = (values or {}).get(name.casefold())
        if found is None:
            return {"changed": False, "exists": False}
        return {
            "changed": False,
            "exists": True,
            "type": f"REG_{found[0].upper()}",
            "value": found[1],
            "raw_value": found[1],
        }
    if values is None:
        return {"changed": False, "exists": False}
    names = {host.registry_names.get(f"{path.casefold()}!{key}", key): item for key, item in values.items()}
    shown = {
        key: {"type": f"REG_{item[0].upper()}", "value": item[1], "raw_value": item[1]}
        for key, item in names.items()
    }
    below = path.casefold() + "\\"
    subs = sorted({key[len(below) :].split("\\")[0] for key in host.registry if key.startswith(below)})
    return {"changed": False, "exists": True, "properties": shown, "sub_keys": subs}


def win_feature(call: Call) -> Result:
    """Roles and features of a server; installing Hyper-V asks for a reboot."""
    host, args = call.host, call.args
    if not host.is_server:
        raise ModuleFailedError(
            "This version of Windows does not support the cmdlets Install-WindowsFeature or Add-WindowsFeature"
        )
    wanted, results = args["state"] == "present", []
    names = {name.casefold(): name for name in host.features}
    for text in args["name"]:
        name = names.get(text.casefold())
        if name is None:
            raise ModuleFailedError(
                "Failed to install Windows Feature: ArgumentNotValid: The role, role service, or feature name is not "
                f"valid: '{text}'. The name was not found."
            )
        results += _feature(host, name, wanted)
    if (
        wanted
        and args["include_management_tools"]
        and "hyper-v" in [text.casefold() for text in args["name"]]
    ):
        for tool in ("RSAT-Hyper-V-Tools", "Hyper-V-PowerShell"):
            results += _feature(host, tool, wanted)
    return {
        "changed": bool(results),
        "feature_result": results,
        "success": True,
        "exitcode": "Success" if results else "NoChangeNeeded",
        "reboot_required": bool(results) and host.pending_reboot,
    }


def _feature(host: HostState, name: str, wanted: bool) -> list[Result]:
    if host.features[name] == wanted:
        return []
    host.features[name] = wanted
    reboot = name == "Hyper-V"
    if reboot:
        host.pending_reboot = True
        host.features_pending.add(name)
    return [
        {
            "id": 1,
            "display_name": name,
            "message": [],
            "reboot_required": reboot,
            "skip_reason": "NotSkipped",
            "success": True,
        }
    ]


def win_optional_feature(call: Call) -> Result:
    """Optional features (client editions); Hyper-V asks for a reboot."""
    host, args = call.host, call.args
    wanted, names = args["state"] == "present", {name.casefold(): name for name in host.optional_features}
    changed = []
    for text in args["name"]:
        name = names.get(text.casefold())
        if name is None:
            raise ModuleFailedError(f"Failed to find feature '{text}'")
        if host.optional_features[name] != wanted:
            changed.append(name)
    for name in changed:
        host.optional_features[name] = wanted
        if name.startswith("Microsoft-Hyper-V"):
            host.pending_reboot = True
            host.features_pending.add(name)
            if args["include_parent"] or name == "Microsoft-Hyper-V-All":
                host.optional_features |= dict.fromkeys(host.optional_features, wanted)
    return {
        "changed": bool(changed),
        "reboot_required": bool(changed) and host.pending_reboot and not call.check_mode,
    }


def win_user(call: Call) -> Result:
    """A local account."""
    host, args, name = call.host, call.args, call.args["name"]
    present = host.users.get(name.casefold())
    if args["state"] == "absent":
        host.users.pop(name.casefold(), None)
        return {"changed": present is not None, "state": "absent", "name": name}
    if args["state"] == "query":
        return {"changed": False, "state": "present" if present else "absent", "name": name}
    user = present or User(name, password=args["password"] or "")
    values: dict[str, Any] = {}
    if args["password"] and args["update_password"] == "always":
        values["password"] = args["password"]
    for argument, member in (("fullname", "fullname"), ("description", "description"), ("account_disabled", "disabled"),
                             ("password_never_expires", "password_never_expires")):  # fmt: skip
        if args[argument] is not None:
            values[member] = args[argument]
    if args["groups"] is not None:
        values["groups"] = _groups(user.groups, args["groups"], args["groups_action"])
    user = replace(user, **values)
    host.users[name.casefold()] = user
    return {"changed": user != present, "state": "present", "name": name, "groups": sorted(user.groups)}


def _groups(have: frozenset[str], given: list[str], action: str) -> frozenset[str]:
    if action == "add":
        return have | set(given)
    if action == "remove":
        return have - set(given)
    return frozenset(given)


def win_group_membership(call: Call) -> Result:
    """Members of a local group."""
    host, args, group = call.host, call.args, call.args["name"]
    have = {user.name for user in host.users.values() if group in user.groups}
    names = {user.name.casefold(): user.name for user in host.users.values()}
    given = set()
    for member in args["members"]:
        short = member.rsplit("\\", 1)[-1].casefold()
        if short not in names:
            raise ModuleFailedError(f"account_name {member} is not a valid account, cannot get SID")
        given.add(names[short])
    wanted = {"present": have | given, "absent": have - given, "pure": given}[args["state"]]
    for user in list(host.users.values()):
        groups = user.groups | {group} if user.name in wanted else user.groups - {group}
        host.users[user.name.casefold()] = replace(user, groups=frozenset(groups))
    return {
        "changed": wanted != have,
        "added": sorted(wanted - have),
        "removed": sorted(have - wanted),
        "members": sorted(wanted),
    }


def win_environment(call: Call) -> Result:
    """Variables of the machine (levels are not told apart)."""
    host, args = call.host, call.args
    wanted = args["variables"] or {args["name"]: None if args["state"] == "absent" else args["value"]}
    before = {name: host.environment.get(name) for name in wanted}
    for name, value in wanted.items():
        if value in (None, ""):
            host.environment.pop(name, None)
        else:
            host.environment[name] = str(value)
    after = {name: host.environment.get(name) for name in wanted}
    return with_diff(call, {"changed": before != after}, before, after)


def win_path(call: Call) -> Result:
    """Elements of a path-like variable."""
    host, args = call.host, call.args
    have = [part for part in host.environment.get(args["name"] or "Path", "").split(";") if part]
    given = [part.casefold() for part in args["elements"]]
    kept = [part for part in have if part.casefold() not in given]
    present = {part.casefold() for part in have}
    after = (
        kept
        if args["state"] == "absent"
        else [*have, *(part for part in args["elements"] if part.casefold() not in present)]
    )
    host.environment[args["name"] or "Path"] = ";".join(after)
    return {"changed": after != have, "path_value": ";".join(after)}


def win_power_plan(call: Call) -> Result:
    """The active power plan."""
    plans = {"high performance", "balanced", "power saver"}
    wanted = (call.args["name"] or "").casefold()
    if wanted not in plans:
        raise ModuleFailedError(f"Defined power_plan: ({call.args['name']}) is not available")
    changed = call.host.power.plan != wanted
    call.host.power.plan = wanted
    return {"changed": changed, "power_plan_name": call.args["name"], "power_plan_enabled": True}


def win_ping(call: Call) -> Result:
    """pong."""
    if call.args["data"] == "crash":
        raise ModuleFailedError("boom")
    return {"changed": False, "ping": call.args["data"]}


def win_hostname(call: Call) -> Result:
    """The computer's name; a reboot makes it true."""
    before = call.host.hostname
    changed = before != call.args["name"]
    if changed:
        call.host.hostname = call.args["name"]
        call.host.pending_reboot = True
    return {"changed": changed, "old_name": before, "reboot_required": changed}


def win_wait_for(call: Call) -> Result:
    """A path or a port that is there (or not) at once; the model does not wait, so that a play ends."""
    args, host = call.args, call.host
    wanted = args["state"] in ("present", "started")
    if args["path"]:
        there = host.files.find(paths.expand(args["path"], host.environment)) is not None
        what = args["path"]
    else:
        there = args["port"] is not None and call.machine.port_is_open(host, int(args["port"]))
        what = f"{args['host']}:{args['port']}"
    if there != wanted:
        raise ModuleFailedError(
            f"timeout while waiting for {what} to be {args['state']}", elapsed=args["timeout"]
        )
    return {"changed": False, "elapsed": 0, "wait_attempts": 1}


def win_eventlog_entry(call: Call) -> Result:
    """One line in the event log."""
    call.host.events.append(
        f"{call.args['log']}/{call.args['source']} {call.args['event_id']}: {call.args['message']}"
    )
    return {
        "changed": True,
        "msg": f"Entry added to log {call.args['log']} from source {call.args['source']}",
    }


def setup(call: Call) -> Result:
    """Facts of the host; subsets are given in full."""
    host = call.host
    now = datetime.fromtimestamp(call.now_s + host.clock_offset_s, UTC)
    major = host.version.split(".")[0]
    addresses = [item.address for item in host.interfaces]
    facts: Result = {
        "ansible_architecture": "64-bit",
        "ansible_architecture2": "x86_64",
        "ansible_date_time": {
            "date": now.strftime("%Y-%m-%d"),
            "epoch": f"{now.timestamp():.5f}",
            "epoch_int": int(now.timestamp()),
            "iso8601": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "time": now.strftime("%H:%M:%S"),
            "tz": "UTC",
            "tz_offset": "+00:00",
            "year": f"{now.year}",
        },
        "ansible_distribution": host.caption,
        "ansible_distribution_major_version": major,
        "ansible_distribution_version": host.version,
        "ansible_domain": "",
        "ansible_env": dict(host.environment),
        "ansible_fqdn": host.hostname.lower(),
        "ansible_hostname": host.hostname,
        "ansible_interfaces": [
            {
                "connection_name": item.name,
                "interface_index": number,
                "ipv4": {"address": item.address, "prefix": str(item.prefix)},
                "default_gateway": item.gateway,
                "speed": item.rate_mbits,
            }
            for number, item in enumerate(host.interfaces, 2)
        ],
        "ansible_ip_addresses": addresses,
        "ansible_kernel": host.version,
        "ansible_lastboot": datetime.fromtimestamp(host.boot.time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        "ansible_machine": "x86_64",
        "ansible_memtotal_mb": host.memory_bytes // 1024**2,
        "ansible_memfree_mb": host.memory_bytes // 2 // 1024**2,
        "ansible_nodename": host.hostname.lower(),
        "ansible_os_family": "Windows",
        "ansible_os_installation_type": "Server" if host.is_server else "Client",
        "ansible_os_name": host.caption,
        "ansible_os_product_type": "server" if host.is_server else "workstation",
        "ansible_powershell_version": 5,
        "ansible_processor": ["0", "GenuineIntel", host.processor],
        "ansible_processor_cores": 8,
        "ansible_processor_count": 1,
        "ansible_processor_vcpus": 8,
        "ansible_product_name": "Standard PC",
        "ansible_reboot_pending": host.pending_reboot,
        "ansible_system": "Win32NT",
        "ansible_system_vendor": "Stand-in",
        "ansible_uptime_seconds": int(call.now_s - host.boot.time_s),
        "ansible_user_id": "Administrator",
        "ansible_virtualization_role": "host",
        "ansible_virtualization_type": "hyperv" if host.features.get("Hyper-V") else "NA",
        "ansible_win_rm_certificate_expires": "2099-01-01 00:00:00",
        "ansible_windows_domain": "WORKGROUP",
        "module_setup": True,
        "gather_subset": call.args["gather_subset"],
    }
    return {"changed": False, "ansible_facts": facts}


def win_disk_facts(call: Call) -> Result:
    """Disks and volumes."""
    disks = [
        {
            "number": disk.number,
            "friendly_name": disk.name,
            "size": disk.size_bytes,
            "bus_type": disk.bus,
            "serial_number": disk.serial,
            "partitions": [],
        }
        for disk in call.host.disks
    ]
    volumes = list(call.host.files.volumes.values())
    for disk, volume in zip(disks, volumes, strict=False):
        disk["partitions"] = [
            {
                "drive_letter": volume.letter,
                "size": volume.size_bytes,
                "volumes": [
                    {"size": volume.size_bytes, "size_remaining": volume.free_bytes, "type": volume.file_system,
                     "allocation_unit_size": volume.cluster_size_bytes, "label": volume.label}
                ],
            }
        ]  # fmt: skip
    return {"changed": False, "ansible_facts": {"ansible_disks": disks}}


HANDLERS: dict[str, Handler] = {
    "ansible.windows.setup": setup,
    "ansible.windows.win_environment": win_environment,
    "ansible.windows.win_feature": win_feature,
    "ansible.windows.win_group_membership": win_group_membership,
    "ansible.windows.win_hostname": win_hostname,
    "ansible.windows.win_optional_feature": win_optional_feature,
    "ansible.windows.win_path": win_path,
    "ansible.windows.win_ping": win_ping,
    "ansible.windows.win_reg_stat": win_reg_stat,
    "ansible.windows.win_regedit": win_regedit,
    "ansible.windows.win_user": win_user,
    "ansible.windows.win_wait_for": win_wait_for,
    "community.windows.win_disk_facts": win_disk_facts,
    "community.windows.win_eventlog_entry": win_eventlog_entry,
    "community.windows.win_power_plan": win_power_plan,
}
