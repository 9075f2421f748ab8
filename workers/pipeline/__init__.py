"""One camera's frames made into sightings."""
