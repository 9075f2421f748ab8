"""A face found, aligned, judged and embedded: what the recognisers are made of."""
