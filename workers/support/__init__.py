"""What somebody who helps from afar may see of a site, as one file."""
