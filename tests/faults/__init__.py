"""The fault suite is a judge: here it is judged."""
