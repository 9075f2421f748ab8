"""The parts of a recogniser: detection, alignment, quality, liveness, embedding, and the interface of an engine."""
