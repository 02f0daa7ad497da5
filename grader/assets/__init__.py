"""What a fresh machine needs before it can grade: pretrained model, metrics and reviews, all without a network.

`cache` keeps files of known content, `standin` and `hub` make the model, `metrics` the offline metrics, `reviews` and
`synthetic` the data; `inventory` says what is there. `python -m grader.assets prepare` makes everything.
"""
