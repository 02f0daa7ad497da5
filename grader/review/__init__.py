"""The assistant's page over the folder of a class: a local web application. What people decide there are decisions."""
