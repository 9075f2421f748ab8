"""What can be asked of the gallery, in the writer process or in a command that opens the files."""
