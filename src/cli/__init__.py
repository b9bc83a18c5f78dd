"""The command line: arguments, help, errors and exit statuses, the launcher of sweeps."""
