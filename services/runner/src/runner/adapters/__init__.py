"""How the ports meet the world; one idea a file."""
