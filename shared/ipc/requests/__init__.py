"""The requests to the gallery and their answers, one module for each subject. A process imports those that it sends."""
