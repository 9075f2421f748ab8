"""The SQLite store: the tables, the connections, older databases, backups."""
