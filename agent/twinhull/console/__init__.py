"""What people reach with a browser: so far, how their password is kept."""
