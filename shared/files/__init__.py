"""Files and folders on the disk: private, durable, locked."""
