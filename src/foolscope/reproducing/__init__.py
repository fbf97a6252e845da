"""Claims of the seed documents, measured: one file a document or paper, one function a claim, one record a measurement."""
