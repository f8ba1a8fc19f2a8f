"""Modules on files. Each after the module's own PowerShell."""

from __future__ import annotations

import base64
import io
import ntpath
import zipfile
from fnmatch import fnmatch
from typing import Any

from .. import paths
from ..files import Entry
from .base import Call, Handler, ModuleFailedError, Result, with_diff


def _path(call: Call, text: str) -> str:
    expanded = paths.expand(text, call.host.environment)
    try:
        return paths.normal(expanded)
    except ValueError as error:
        raise ModuleFailedError(str(error)) from error


def win_file(call: Call) -> Result:
    """absent, directory, file, touch."""
    path, state, files = _path(call, call.args["path"]), call.args["state"], call.host.files
    present = files.find(path)
    if state == "absent":
        _refuse_running(call, path)
        return {"changed": files.remove(path)}
    if state == "touch":
        if present is None:
            files.write(path, b"")
        return {"changed": True}
    if present is not None:
        if state == "directory" and not present.is_directory:
            raise ModuleFailedError(f"path {path} is not a directory")
        if state == "file" and present.is_directory:
            raise ModuleFailedError(f"path {path} is not a file")
        return {"changed": False}
    if state == "file" or (state is None and paths.name(path)):
        raise ModuleFailedError(f"path {path} will not be created")
    return {"changed": files.make_directory(path)}


def _refuse_running(call: Call, path: str) -> None:
    """Windows does not remove a program that runs."""
    entry = call.host.files.find(path)
    if entry is None or entry.target is not None:
        return
    below = call.host.files.real_path(path).casefold() + "\\"
    for program in call.machine.in_use(call.host):
        running = call.host.files.follow(program) if ":" in program else None
        if running is not None and running.path.casefold().startswith(below):
            raise ModuleFailedError(
                f"Failed to delete {running.path}: Access to the path '{running.path}' is denied."
            )


def win_stat(call: Call) -> Result:
    """Facts of one path."""
    files = call.host.files
    path = _path(call, call.args["path"])
    entry = files.follow(path) if call.args["follow"] else files.find(path)
    if entry is None:
        return {"changed": False, "stat": {"exists": False}}
    return {"changed": False, "stat": _stat(call, entry)}


def _stat(call: Call, entry: Entry) -> Result:
    link = entry.link
    stat: Result = {
        "exists": True,
        "attributes": "Directory" if entry.is_directory else "Archive",
        "isarchive": not entry.is_directory,
        "isdir": entry.is_directory,
        "ishidden": False,
        "isjunction": link == "JunctionPoint",
        "islnk": link == "SymbolicLink",
        "isreadonly": False,
        "isreg": not entry.is_directory and not link,
        "isshared": False,
        "nlink": 1,
        "hlnk_targets": [],
        "creationtime": entry.modified_s,
        "lastaccesstime": entry.modified_s,
        "lastwritetime": entry.modified_s,
        "path": entry.path,
        "filename": paths.name(entry.path),
        "owner": entry.owner,
    }
    if entry.target:
        stat["lnk_target"] = stat["lnk_source"] = entry.target
    if entry.is_directory:
        if call.args["get_size"]:
            stat["size"] = call.host.files.tree_bytes(entry.path)
        return stat
    stat["extension"] = ntpath.splitext(entry.path)[1]
    if call.args["get_checksum"]:
        stat["checksum"] = entry.checksum(call.args["checksum_algorithm"])
    if call.args["get_size"]:
        stat["size"] = entry.size_bytes
    return stat


def slurp(call: Call) -> Result:
    """A file in base64."""
    path = _path(call, call.args["src"])
    entry = call.host.files.follow(path)
    if entry is None:
        raise ModuleFailedError(f"Path {path} is not found")
    if entry.content is None:
        raise ModuleFailedError(f"Path {path} is a directory")
    return {"changed": False, "encoding": "base64", "content": base64.b64encode(entry.content).decode()}


def win_copy(call: Call) -> Result:
    """The four modes that the action plugin asks for: query, single, explode, remote."""
    modes: dict[str, Handler] = {
        "query": _copy_query,
        "single": _copy_single,
        "explode": _copy_explode,
        "remote": _copy_remote,
    }
    return modes[call.args.get("_copy_mode", "single")](call)


def _copy_query(call: Call) -> Result:
    files, dest, wanted = call.host.files, _path(call, call.args["dest"]), []
    for item in call.args.get("files") or []:
        path = paths.join(dest, item["dest"])
        present = files.follow(path)
        if present is not None and present.is_directory:
            path = paths.join(path, ntpath.basename(item["src"].replace("/", "\\")))
            present = files.follow(path)
        if present is not None and present.is_directory:
            raise ModuleFailedError(
                f"cannot copy file to dest '{path}': object at path is already a directory"
            )
        if present is None or (call.args["force"] and present.checksum() != item["checksum"]):
            wanted.append(item)
    directories = [
        item
        for item in call.args.get("directories") or []
        if files.follow(paths.join(dest, item["dest"])) is None
    ]
    return {"changed": False, "files": wanted, "directories": directories, "symlinks": []}


def _copy_single(call: Call) -> Result:
    files, source, text = call.host.files, _path(call, call.args["src"]), call.args["dest"]
    dest = _path(call, text)
    present = files.follow(dest)
    if text.endswith(("\\", "/")) or (present is not None and present.is_directory):
        dest = paths.join(dest, call.args.get("_original_basename") or paths.name(source))
    return {**_copy_file(call, source, dest), "src": source, "dest": dest, "operation": "file_copy"}


def _copy_file(call: Call, source: str, dest: str) -> Result:
    files = call.host.files
    content = files.read(source)
    present = files.follow(dest)
    made: Result = {"changed": False, "size": len(content), "checksum": Entry("", content).checksum()}
    if present is not None and present.is_directory:
        raise ModuleFailedError(f"cannot copy file from '{source}' to '{dest}': dest is already a folder")
    if present is not None and (not call.args["force"] or present.content == content):
        return made
    if call.args.get("backup") and present is not None:
        made["backup_file"] = f"{dest}.{int(call.now_s)}.bak"
        files.write(made["backup_file"], present.content or b"")
    files.make_directory(paths.parent(dest))
    files.write(dest, content)
    return {**made, "changed": True}


def _copy_explode(call: Call) -> Result:
    files, dest = call.host.files, _path(call, call.args["dest"])
    with zipfile.ZipFile(io.BytesIO(files.read(_path(call, call.args["src"])))) as archive:
        for item in archive.infolist():
            target = paths.join(dest, base64.b64decode(item.filename.rstrip("/")).decode())
            if item.is_dir():
                files.make_directory(target)
                continue
            files.make_directory(paths.parent(target))
            files.write(target, archive.read(item))
    return {"changed": True, "dest": dest, "src": call.args["src"]}


def _copy_remote(call: Call) -> Result:
    files, source, dest = call.host.files, _path(call, call.args["src"]), _path(call, call.args["dest"])
    present = files.follow(source)
    if present is None:
        raise ModuleFailedError(f"Cannot copy src file: '{call.args['src']}' as it does not exist")
    if not present.is_directory:
        if call.args["dest"].endswith(("\\", "/")):
            dest = paths.join(dest, paths.name(source))
        return {**_copy_file(call, source, dest), "src": source, "dest": dest, "operation": "file_copy"}
    if not call.args["src"].endswith(("\\", "/")):
        dest = paths.join(dest, paths.name(source))
    changed = files.make_directory(dest)
    for entry in list(files.walk(present.path)):
        target = paths.join(dest, entry.path[len(present.path) :].lstrip("\\"))
        if entry.is_directory:
            changed |= files.make_directory(target)
        else:
            changed |= _copy_file(call, entry.path, target)["changed"]
    return {"changed": changed, "src": source, "dest": dest, "operation": "folder_copy"}


def win_unzip(call: Call) -> Result:
    """A ZIP archive into a directory; as the module, it always says changed unless `creates` is there."""
    files, args = call.host.files, call.args
    if args["creates"] and files.find(_path(call, args["creates"])):
        return {
            "changed": False,
            "skipped": True,
            "msg": f"The file or directory '{args['creates']}' already exists.",
        }
    source = files.follow(_path(call, args["src"]))
    if source is None or source.content is None:
        raise ModuleFailedError(f"File '{args['src']}' does not exist.")
    dest = _path(call, args["dest"])
    files.make_directory(dest)
    try:
        with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
            for item in archive.infolist():
                _unzip_one(call, archive, item, dest)
    except zipfile.BadZipFile as error:
        raise ModuleFailedError(
            f"Error unzipping '{args['src']}' to '{dest}'!. Exception: {error}"
        ) from error
    if args["delete_archive"]:
        files.remove(source.path)
    return {"changed": True, "dest": dest, "src": args["src"], "removed": bool(args["delete_archive"])}


def _unzip_one(call: Call, archive: zipfile.ZipFile, item: zipfile.ZipInfo, dest: str) -> None:
    target = paths.join(dest, item.filename)
    if not target.casefold().startswith(dest.casefold() + "\\"):
        raise ModuleFailedError(f"Error unzipping! Filename contains relative paths: {item.filename}")
    if item.is_dir():
        call.host.files.make_directory(target)
        return
    call.host.files.make_directory(paths.parent(target))
    call.host.files.write(target, archive.read(item))


def win_tempfile(call: Call) -> Result:
    """A new temporary file or directory."""
    args, files = call.args, call.host.files
    path = paths.join(_path(call, args["path"]), f"{args['prefix']}{call.machine.new_id()}{args['suffix']}")
    if args["state"] == "directory":
        files.make_directory(path)
    else:
        files.write(path, b"")
    return {"changed": True, "path": path, "state": args["state"]}


def win_find(call: Call) -> Result:
    """Files below paths by pattern (fnmatch); age, size and hidden are not modelled."""
    args, files, found, examined = call.args, call.host.files, [], 0
    for name in ("age", "size", "hidden", "share"):
        if args.get(name) and name in call.given:
            raise ModuleFailedError(f"the stand-in's win_find does not model '{name}'")
    for text in args["paths"]:
        root = files.follow(_path(call, text))
        if root is None:
            continue
        for entry in files.walk(root.path) if args["recurse"] else files.children(root.path):
            examined += 1
            if _matches(entry, args):
                found.append(
                    {**_stat_of_find(entry), "checksum": entry.checksum()}
                    if args["get_checksum"] and not entry.is_directory
                    else _stat_of_find(entry)
                )
    return {"changed": False, "files": found, "matched": len(found), "examined": examined}


def _matches(entry: Entry, args: dict[str, Any]) -> bool:
    if entry.is_directory != (args["file_type"] == "directory"):
        return False
    if args["use_regex"]:
        raise ModuleFailedError("the stand-in's win_find does not model use_regex")
    patterns = args["patterns"] or ["*"]
    return any(fnmatch(paths.name(entry.path).casefold(), pattern.casefold()) for pattern in patterns)


def _stat_of_find(entry: Entry) -> Result:
    return {
        "path": entry.path,
        "filename": paths.name(entry.path),
        "isdir": entry.is_directory,
        "isreg": not entry.is_directory and not entry.link,
        "islnk": entry.link == "SymbolicLink",
        "size": entry.size_bytes,
        "exists": True,
        "owner": entry.owner,
        "lastwritetime": entry.modified_s,
    }


def win_lineinfile(call: Call) -> Result:
    """One line present or absent; backrefs and insertion points are refused as not modelled."""
    args, files, path = call.args, call.host.files, _path(call, call.args["path"])
    if args["backrefs"] or args["insertbefore"] or (args["insertafter"] or "EOF") != "EOF" or args["regex"]:
        raise ModuleFailedError("the stand-in's win_lineinfile models whole lines only")
    present = files.follow(path)
    if present is None and not args["create"]:
        raise ModuleFailedError(f"Path {path} does not exist !")
    before = present.content.decode("utf-8-sig") if present and present.content else ""
    lines = before.splitlines()
    kept = [line for line in lines if line != args["line"]]
    if args["state"] == "present":
        kept = lines if args["line"] in lines else [*lines, args["line"]]
    after = "".join(f"{line}\r\n" for line in kept)
    if kept != lines:
        files.write(path, after.encode())
    return with_diff(call, {"changed": kept != lines}, before, after)


def win_acl(call: Call) -> Result:
    """One access rule added or removed (files only)."""
    args, files = call.args, call.host.files
    path = _path(call, args["path"])
    entry = files.find(path)
    if entry is None:
        raise ModuleFailedError(f"{path} file or directory does not exist on the host")
    rule = (args["user"].casefold(), args["type"], args["rights"])
    rules = tuple(kept for kept in entry.rules if kept != rule)
    if args["state"] == "present":
        rules = (*rules, rule)
    changed = set(rules) != set(entry.rules)
    if changed:
        files.change(path, rules=rules)
    return {"changed": changed}


def win_acl_inheritance(call: Call) -> Result:
    """Inheritance of access rules on or off."""
    args, files = call.args, call.host.files
    path = _path(call, args["path"])
    entry = files.find(path)
    if entry is None:
        raise ModuleFailedError(f"{path} file or directory does not exist on the host")
    wanted = args["state"] == "present"
    if entry.inherits == wanted:
        return {"changed": False}
    files.change(path, inherits=wanted)
    return {"changed": True}


def win_owner(call: Call) -> Result:
    """The owner of a path."""
    path = _path(call, call.args["path"])
    entry = call.host.files.find(path)
    if entry is None:
        raise ModuleFailedError(f"{path} file or directory does not exist on the host")
    if entry.owner.casefold() == call.args["user"].casefold():
        return {"changed": False}
    call.host.files.change(path, owner=call.args["user"])
    return {"changed": True}


HANDLERS: dict[str, Handler] = {
    "ansible.windows.slurp": slurp,
    "ansible.windows.win_acl": win_acl,
    "ansible.windows.win_acl_inheritance": win_acl_inheritance,
    "ansible.windows.win_copy": win_copy,
    "ansible.windows.win_file": win_file,
    "ansible.windows.win_find": win_find,
    "ansible.windows.win_owner": win_owner,
    "ansible.windows.win_stat": win_stat,
    "ansible.windows.win_tempfile": win_tempfile,
    "community.windows.win_lineinfile": win_lineinfile,
    "community.windows.win_unzip": win_unzip,
}
