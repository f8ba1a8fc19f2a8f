"""The agent: the control plane of one node. It starts and watches workers, carries heartbeats, answers people."""
