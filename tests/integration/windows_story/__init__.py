"""The unmodified playbooks install, run, upgrade and remove the real agent on two Windows hosts under Wine."""
