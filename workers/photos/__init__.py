"""Turns photos into references (enrolment), and finds out who is in a photo (`identify`)."""
