"""Validated, typed configuration: one YAML of the cluster, the same on both nodes, and one of the node.

    node = load_node(Path("/etc/twinhull/node.yml"))
    cluster = load_cluster(node.cluster_config, node)
    settings = module_settings(cluster, "VM1", node.node)

Whatever is wrong is told at once, as `file:line: message`, in one InvalidConfigError (a ConfigError).
"""

from __future__ import annotations

from .change import Change, check_change
from .cluster import load_cluster, load_node, parse_cluster, parse_node
from .derive import module_settings, to_yaml, warnings
from .fit import overlap
from .model import (
    MAX_MODULES,
    AttachKind,
    BootConfig,
    CheckerAction,
    CheckerConfig,
    CheckerKind,
    ClusterConfig,
    ExportConfig,
    ExportKind,
    HyperVConfig,
    LibvirtConfig,
    ModuleConfig,
    NetworkConfig,
    NetworkRole,
    NodeAddresses,
    NodeConfig,
    Ports,
    ResourceKind,
    ReturnConfig,
    ScriptsConfig,
    StopConfig,
    Unrestorable,
    VerifyConfig,
    WitnessConfig,
)
from .paths import HERE, Platform, platform_of, usual
from .tree import InvalidConfigError, Problem, read_text
from .units import Window, parse_duration_s, parse_size_bytes, parse_window

DEFAULT_NODE_CONFIG = usual("/etc/twinhull/node.yml", "node.yml")
USUAL_LOG_DIRECTORY = usual("/var/log/twinhull", "log")

__all__ = [
    "DEFAULT_NODE_CONFIG",
    "HERE",
    "MAX_MODULES",
    "USUAL_LOG_DIRECTORY",
    "AttachKind",
    "BootConfig",
    "Change",
    "CheckerAction",
    "CheckerConfig",
    "CheckerKind",
    "ClusterConfig",
    "ExportConfig",
    "ExportKind",
    "HyperVConfig",
    "InvalidConfigError",
    "LibvirtConfig",
    "ModuleConfig",
    "NetworkConfig",
    "NetworkRole",
    "NodeAddresses",
    "NodeConfig",
    "Platform",
    "Ports",
    "Problem",
    "ResourceKind",
    "ReturnConfig",
    "ScriptsConfig",
    "StopConfig",
    "Unrestorable",
    "VerifyConfig",
    "Window",
    "WitnessConfig",
    "check_change",
    "load_cluster",
    "load_node",
    "module_settings",
    "overlap",
    "parse_cluster",
    "parse_duration_s",
    "parse_node",
    "parse_size_bytes",
    "parse_window",
    "platform_of",
    "read_text",
    "to_yaml",
    "usual",
    "warnings",
]
