"""The sealed log without a database: hash chain, verification, export file, sealed secrets."""
