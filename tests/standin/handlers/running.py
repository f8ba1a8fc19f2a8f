"""Modules that run something: commands, shells, PowerShell; and asynchronous jobs."""

from __future__ import annotations

from .. import engine, paths, script_models
from ..commands import split
from ..seam import Command, Ran, UnknownWorkError
from .base import Call, Handler, ModuleFailedError, Result


def _skipped(call: Call) -> str | None:
    """Why `creates` or `removes` leaves the command out."""
    for name, wanted in (("creates", True), ("removes", False)):
        text = call.args.get(name)
        if text:
            there = call.host.files.find(paths.expand(text, call.host.environment)) is not None
            if there == wanted:
                return f"skipped, since {text} {'exists' if wanted else 'does not exist'}"
    return None


def _told(call: Call, command: str, ran: Ran) -> Result:
    result: Result = {
        "changed": True,
        "cmd": command,
        "rc": ran.exit_code,
        "stdout": ran.stdout,
        "stderr": ran.stderr,
        "start": "2030-01-01 00:00:00.000000",
        "end": "2030-01-01 00:00:00.100000",
        "delta": "0:00:00.100000",
    }
    if not ran.found:
        raise ModuleFailedError(
            f"Failed to run: '{command}': Exception calling \"CreateProcess\": {ran.stderr}",
            rc=2,
            cmd=command,
        )
    if ran.exit_code != 0:
        raise ModuleFailedError("non-zero return code", **{**result, "changed": True})
    return result


def win_command(call: Call) -> Result:
    """A program without a shell."""
    args = call.args
    argv = tuple(args["argv"] or ()) or split(args["cmd"] or (args["_raw_params"] or "").strip())
    if not argv:
        raise ModuleFailedError("no command given")
    command = args["cmd"] or args["_raw_params"] or " ".join(argv)
    skipped = _skipped(call)
    if skipped:
        return {"changed": False, "skipped": True, "msg": skipped, "rc": 0, "cmd": command}
    environment = {**call.host.environment, **call.environment}
    argv = (paths.expand(argv[0], environment), *argv[1:])
    if args["chdir"] and call.host.files.follow(paths.expand(args["chdir"], environment)) is None:
        raise ModuleFailedError(
            f"Failed to run: '{command}': The directory name is invalid ({args['chdir']})", rc=267
        )
    stdin = (args["stdin"] or "").encode()
    return _told(
        call, command, call.machine.run_command(call.host, Command(argv, stdin, args["chdir"], environment))
    )


def win_shell(call: Call) -> Result:
    """A script of PowerShell, or a line of cmd."""
    args = call.args
    text = str(args["free_form"]).strip()
    skipped = _skipped(call)
    if skipped:
        return {"changed": False, "skipped": True, "msg": skipped, "rc": 0, "cmd": text}
    stdin = (args["stdin"] or "").encode()
    if "cmd" in (args["executable"] or "").casefold():
        ran = call.machine.run_command(call.host, Command(("cmd", "/c", text), stdin))
    else:
        ran = call.machine.run_script(call.host, text, stdin)
        if ran.exit_code == 250:
            raise UnknownWorkError(f"win_shell: {ran.stderr}")
    return _told(call, text, ran)


def win_powershell(call: Call) -> Result:
    """A script with `$Ansible`, by the real engine; in check mode only one that supports ShouldProcess runs."""
    args = call.args
    script = args["script"] or (call.host.files.text(args["path"]) if args["path"] else "")
    skipped = _skipped(call)
    if skipped:
        return {"changed": False, "msg": skipped}
    if call.check_mode and "SupportsShouldProcess" not in script:
        return {"changed": True, "msg": "skipped, running in check mode"}
    parameters = args["parameters"] or {}
    model = script_models.find(script)
    if "twinhull\\.worker\\.main" in script and "$running | Stop-Process" in script:
        told = script_models.told(call.machine.end_workers(call.host), None)
    elif "twinhull\\.worker\\.main" in script:
        told = script_models.told(False, {"workers": call.machine.workers(call.host)})
    elif model is not None and not call.machine.prefers_engine:
        told = model(call.host, parameters, call.check_mode)
    else:
        told = engine.run_ansible_script(
            call.host, script, parameters, check_mode=call.check_mode, error_action=args["error_action"]
        )
    if not call.diff:
        told.pop("diff", None)
    if told.get("failed"):
        raise ModuleFailedError(
            told.pop("msg", "the script failed"), **{key: told[key] for key in told if key != "failed"}
        )
    return told


def async_status(call: Call) -> Result:
    """A job that was started before; the stand-in's jobs are done at once."""
    job = call.args["jid"]
    kept = call.host.jobs.get(job)
    if kept is None:
        raise ModuleFailedError(
            f"could not find job at '{call.args.get('_async_dir')}'",
            ansible_job_id=job,
            started=1,
            finished=1,
        )
    if call.args["mode"] == "cleanup":
        del call.host.jobs[job]
        return {"changed": False, "ansible_job_id": job, "erased": job}
    return dict(kept)


HANDLERS: dict[str, Handler] = {
    "ansible.windows.async_status": async_status,
    "ansible.windows.win_command": win_command,
    "ansible.windows.win_powershell": win_powershell,
    "ansible.windows.win_shell": win_shell,
}
