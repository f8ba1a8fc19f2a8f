"""Services and firewall."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ..model import FirewallRule, Service
from .base import Call, Handler, ModuleFailedError, Result, with_diff

_PLAIN = (
    "description", "display_name", "error_control", "failure_actions_on_non_crash_failure", "failure_command",
    "failure_reboot_msg", "failure_reset_period_sec", "load_order_group", "path", "pre_shutdown_timeout_ms",
    "service_type", "sid_info", "start_mode",
)  # fmt: skip
_ACCOUNTS = {"localsystem": "NT AUTHORITY\\SYSTEM", "system": "NT AUTHORITY\\SYSTEM"}


def win_service(call: Call) -> Result:
    """A service registered, configured, started, stopped, removed."""
    host, name = call.host, call.args["name"]
    present = host.services.get(name.casefold())
    if call.args["state"] == "absent":
        return _remove(call, present)
    created = present is None
    if present is None:
        if not call.args["path"]:
            if call.given == {"name"}:
                return {"changed": False, "exists": False}
            raise ModuleFailedError(
                f"Service '{name}' is not installed, need to set 'path' to create a new service"
            )
        present = Service(name, display_name=call.args["display_name"] or name, path=call.args["path"])
    wanted = _wanted(call, present)
    host.services[name.casefold()] = wanted
    changed = created or wanted != present
    changed |= _drive(call, wanted)
    after = host.services[name.casefold()]
    result = {"changed": changed, "exists": True, **_shown(after)}
    return with_diff(call, result, "" if created else _shown(present), _shown(after))


def _remove(call: Call, present: Service | None) -> Result:
    if present is None:
        return {"changed": False, "exists": False}
    if present.state != "stopped":
        call.machine.stop_service(call.host, present.name)
    del call.host.services[present.name.casefold()]
    return with_diff(call, {"changed": True, "exists": False}, _shown(present), "")


def _wanted(call: Call, present: Service) -> Service:
    args = call.args
    values: dict[str, Any] = {name: args[name] for name in _PLAIN if args.get(name) is not None}
    if args["failure_actions"] is not None:
        values["failure_actions"] = tuple(
            (item["type"], int(item.get("delay_ms") or 0)) for item in args["failure_actions"]
        )
    if args["dependencies"] is not None:
        values["dependencies"] = _dependencies(call, present)
    if args["required_privileges"] is not None:
        values["required_privileges"] = tuple(args["required_privileges"])
    if args["username"]:
        account = _ACCOUNTS.get(args["username"].casefold(), args["username"])
        values["username"] = (
            present.username if account.casefold() == present.username.casefold() else account
        )
    return replace(present, **values)


def _dependencies(call: Call, present: Service) -> tuple[str, ...]:
    given, action = call.args["dependencies"], call.args["dependency_action"]
    have = {name.casefold(): name for name in present.dependencies}
    wanted = {name.casefold(): name for name in given}
    if action == "add":
        have |= {key: name for key, name in wanted.items() if key not in have}
    elif action == "remove":
        have = {key: name for key, name in have.items() if key not in wanted}
    elif set(have) != set(wanted):
        have = wanted
    unknown = [name for key, name in have.items() if key not in call.host.services]
    if unknown:
        raise ModuleFailedError(f"the stand-in knows no service {unknown[0]!r} to depend on")
    return tuple(have.values())


def _drive(call: Call, service: Service) -> bool:
    """Bring the service to the wanted state through the machine. Whether that was a change."""
    wanted = call.args["state"]
    if wanted == "paused":
        raise ModuleFailedError(
            f"failed to pause service {service.name}: The service does not support pausing"
        )
    running = service.state == "started"
    if wanted in ("restarted", "stopped") and running:
        call.machine.stop_service(call.host, service.name)
    if wanted == "restarted" or (wanted == "started" and not running):
        problem = call.machine.start_service(call.host, service.name)
        if problem:
            raise ModuleFailedError(
                f"Service '{service.display_name} ({service.name})' cannot be started due to the following error: {problem}"
            )
    return wanted == "restarted" or (wanted is not None and (wanted == "started") != running)


def _shown(service: Service) -> Result:
    plain = asdict(service)
    plain["dependencies"] = list(service.dependencies)
    plain["required_privileges"] = list(service.required_privileges)
    plain["failure_actions"] = [
        {"type": kind, "delay_ms": delay_ms} for kind, delay_ms in service.failure_actions
    ]
    plain["can_pause_and_continue"] = False
    plain["depended_by"] = []
    return plain


def win_service_info(call: Call) -> Result:
    """Services by name or pattern."""
    wanted = (call.args["name"] or "*").casefold()
    found = [
        {**_shown(service), "process_id": 4242 if service.state == "started" else 0}
        for key, service in sorted(call.host.services.items())
        if wanted in ("*", key, service.display_name.casefold())
    ]
    return {"changed": False, "exists": bool(found), "services": found}


_RULE = (
    "action", "description", "direction", "edge", "enabled", "group", "localip", "localport", "program", "protocol",
    "remoteip", "remoteport", "service",
)  # fmt: skip


def win_firewall_rule(call: Call) -> Result:
    """Rules by name or group. As the module, it changes only what the task gives."""
    args, rules = call.args, call.host.firewall_rules
    if not args["name"] and not args["group"]:
        raise ModuleFailedError("Either name or group must be specified")
    found = [
        rule for rule in rules.values()
        if (rule.name.casefold() == args["name"].casefold() if args["name"] else rule.group == args["group"])
    ]  # fmt: skip
    if args["state"] == "absent":
        for rule in found:
            del rules[rule.name.casefold()]
        prepared = "".join(f"-[{rule.name}]\n" for rule in found)
        return _prepared(call, {"changed": bool(found), "msg": f"{len(found)} rule(s) removed"}, prepared)
    if not found and args["name"]:
        made = _rule(call, FirewallRule(args["name"]))
        rules[made.name.casefold()] = made
        return _prepared(
            call, {"changed": True, "msg": f"Firewall rule '{made.name}' created."}, f"+[{made.name}]\n"
        )
    prepared = ""
    for rule in found:
        made = _rule(call, rule)
        rules[rule.name.casefold()] = made
        prepared += _rule_diff(rule, made)
    return _prepared(call, {"changed": bool(prepared), "msg": "Firewall rule(s) compared"}, prepared)


def _rule(call: Call, rule: FirewallRule) -> FirewallRule:
    args = call.args
    values: dict[str, Any] = {
        name: args[name] for name in _RULE if name in call.given and args[name] is not None
    }
    if args.get("protocol") in ("any", None) and (args.get("localport") or "any") != "any":
        raise ModuleFailedError(
            "Value does not fall within the expected range. (ports need protocol tcp or udp)"
        )
    if args["profiles"] is not None and "profiles" in call.given:
        values["profiles"] = tuple(sorted(args["profiles"]))
    if "interfacetypes" in call.given:
        values["interfacetypes"] = tuple(args["interfacetypes"])
    for name in ("remoteip", "localip"):
        if name in values and set(values[name].split(",")) == set(getattr(rule, name).split(",")):
            del values[name]
    if isinstance(values.get("protocol"), str):
        values["protocol"] = values["protocol"].casefold()
    return replace(rule, **values)


def _rule_diff(before: FirewallRule, after: FirewallRule) -> str:
    if before == after:
        return ""
    old, new = asdict(before), asdict(after)
    lines = [f"-{name}='{old[name]}'\n+{name}='{new[name]}'\n" for name in old if old[name] != new[name]]
    return f"[{before.name}]\n" + "".join(lines)


def _prepared(call: Call, result: Result, prepared: str) -> Result:
    if call.diff:
        result["diff"] = {"prepared": prepared}
    return result


def win_firewall(call: Call) -> Result:
    """The firewall's profiles on or off."""
    wanted, profiles = call.args["state"] == "enabled", call.host.firewall_profiles
    names = call.args["profiles"]
    if call.args["state"] is None:
        return {"changed": False}
    changed = any(profiles[name] != wanted for name in names)
    for name in names:
        profiles[name] = wanted
    return {"changed": changed, "profiles": names, "state": call.args["state"]}


HANDLERS: dict[str, Handler] = {
    "ansible.windows.win_firewall": win_firewall,
    "ansible.windows.win_service": win_service,
    "ansible.windows.win_service_info": win_service_info,
    "community.windows.win_firewall_rule": win_firewall_rule,
}
