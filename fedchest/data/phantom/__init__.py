"""Rendered chest radiographs ("phantoms") with exact findings, and cohorts of them in CheXpert's layout."""
