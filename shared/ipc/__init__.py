"""How the processes of one site talk over one Unix socket."""
