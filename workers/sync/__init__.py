"""The site's end of the exchange with other sites, for the sync process (workers/mongodb_sync.py) and `supervisor.py sync`."""
