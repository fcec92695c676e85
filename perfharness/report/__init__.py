"""A judged run as a document: HTML, PDF, JSON. Pure: the same run gives the same bytes."""
