"""``doctor``: the exactness claims, proved on the user's own model, data and machine."""
