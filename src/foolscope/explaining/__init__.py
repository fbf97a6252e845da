"""Why a network is fooled where it is."""
