"""From beads to all atoms: backmapping by flow matching, with physical terms, relaxation and quality measures."""
