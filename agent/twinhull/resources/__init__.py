"""What runs on the folder: a libvirt VM, or start/stop scripts of any application."""
