"""What the web process is made of: the application, its routes, the stream of sightings, the metrics and the pages."""
