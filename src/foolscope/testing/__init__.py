"""Closed-form problems and a conformance suite, for attacks of ours and of anyone's."""
