"""Files and folders on the disk: private folders, durable changes, locks."""
