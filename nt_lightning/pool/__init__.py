"""Making a pool: the embedded one, teachers, annotators, verification, embeddings."""
