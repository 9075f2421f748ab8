"""The SQLite store: tables, connections, older databases, backups."""
