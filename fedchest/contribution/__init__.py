"""What each update was worth, in whole numbers: coalitions, their predictions as an artifact, exact values."""
