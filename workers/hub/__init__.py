"""The hub: what the backend is made of. Sites exchange references, deletions and sightings through it."""
