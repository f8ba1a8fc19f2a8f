"""The `twinhull` command."""
