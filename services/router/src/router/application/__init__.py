"""The loops that run flows, on ports alone."""
