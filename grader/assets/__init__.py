"""Everything that a fresh machine needs before it can grade, without a network: the model, the metrics, the reviews.

`make setup` prepares it. `cache` keeps files of known content, `standin` and `hub` make the model, `metrics` the
offline metrics, `reviews` and `synthetic_reviews` the data.
"""
