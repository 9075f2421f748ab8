"""How cameras and the inference process, which owns the models, hand each other pictures and answers."""
