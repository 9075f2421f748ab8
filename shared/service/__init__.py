"""The requests on the gallery, carried out by the writer process or by a command that opens the files itself."""
