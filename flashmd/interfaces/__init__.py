"""Interfaces to other simulation packages; each module imports its engine and no other does."""
