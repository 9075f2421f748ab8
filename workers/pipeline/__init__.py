"""How one camera's frames become sightings: detection, tracking, voting."""
