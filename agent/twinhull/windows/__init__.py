"""The Windows API as far as the rest needs it, through ctypes. Its modules can be imported on Windows alone."""
