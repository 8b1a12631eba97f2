"""Documents drawn for people: tables and lines. Pure; the time zone comes in as an argument."""
