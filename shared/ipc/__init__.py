"""Communication between the processes of one site, over one Unix socket."""
