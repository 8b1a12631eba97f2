"""How callers reach the runner: HTTP for runs, gRPC for builds."""
