"""gRPC in front of the application."""
