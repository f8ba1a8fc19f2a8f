"""The shell of one module: the process that performs what `core` decides."""
