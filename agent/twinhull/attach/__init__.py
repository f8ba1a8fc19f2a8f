"""Making an export a mounted folder on this host, and taking it away again."""
