"""What sites exchange, and the rules by which they agree: versions, items, who the people are. Pure."""
